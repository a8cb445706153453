"""Fleets that the peers' tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.local.system.local_system import LocalSystem
from tests.peers.fleet import Fleets


@pytest.fixture(scope="session")
def fleets(system: LocalSystem) -> Iterator[Fleets]:
    """Groups of ready workers by name; everything is returned at the end."""
    made = Fleets(system)
    yield made
    made.return_all()
