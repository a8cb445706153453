"""Panic without tables or keys: an unknown is never counted as a zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.services.market.panic import panic
from fakes.ports.group_repository import FakeGroupRepository
from fakes.ports.secret_box import FakeSecretBox
from tests.faults.stories import serving_world


class LostGroups(FakeGroupRepository):
    """A table that was deleted."""

    def list_groups(self) -> Sequence[EndpointGroup]:
        raise StorageUnavailableError("the table does not exist")


class LostKeys(FakeSecretBox):
    """A pepper that nobody can unwrap any more."""

    def mac(self, purpose: str, message: str) -> str:
        raise KeysUnavailableError("the wrapped pepper cannot be read")


def test_machines_that_cannot_be_judged_are_named_and_nothing_is_verified() -> None:
    world, _ = serving_world(2)
    machines = tuple(sorted(world.market.instances))
    report = panic(replace(world.ports, groups=LostGroups(), secrets=LostKeys()))
    assert not report.is_verified
    assert report.unjudged == machines
    assert set(world.market.instances) == set(machines)
