"""The games over a running system: a bounded search in `make test-long`, more by the command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.local.system.local_system import LocalSystem
from tests.adversary import processes
from tests.adversary.game import Game, search

pytestmark = pytest.mark.long

SEED = 1


@pytest.fixture(scope="module")
def town(system: LocalSystem) -> Iterator[processes.Town]:
    town = processes.Town(system)
    processes.use(town)
    yield town
    processes.use(None)
    town.end()


@pytest.mark.parametrize("game", processes.GAMES, ids=lambda game: game.name)
def test_no_game_on_real_processes_is_won(town: processes.Town, game: Game) -> None:
    best = search(game, 20, SEED)
    assert not best.is_won, best.told()


def test_what_is_bought_is_served(town: processes.Town) -> None:
    """The games measure something: an honest script comes through."""
    honest = [("ticket", 40.0), ("use", 40, "last"), ("session", "last")]
    assert 0.1 < processes.over_quota(honest) <= 1.0
    in_session = [("ticket", 40.0), ("session", "last"), ("in", 40)]
    assert 0.1 < processes.over_quota(in_session) <= 1.0
    ticket = town.ticket(town.held["route key"], 5.0)
    assert processes.generate(ticket, 2)
    assert not processes.generate(ticket, 2)
