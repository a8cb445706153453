"""Panic without tables or keys: an unknown is never counted as a zero."""

from __future__ import annotations

import pytest

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.services.market.panic import panic
from tests.faults.stories import serving_world


def test_machines_that_cannot_be_judged_are_named_and_nothing_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, _ = serving_world(2)
    machines = tuple(sorted(world.market.instances))

    def gone(*_: object) -> list[EndpointGroup]:
        raise StorageUnavailableError("the table does not exist")

    def no_key(*_: object) -> bytes:
        raise KeysUnavailableError("the wrapped pepper cannot be read")

    monkeypatch.setattr(world.ports.groups, "list_groups", gone)
    monkeypatch.setattr(world.ports.secrets, "mac", no_key)
    report = panic(world.ports)
    assert not report.is_verified
    assert report.unjudged == machines
    assert set(world.market.instances) == set(machines)
