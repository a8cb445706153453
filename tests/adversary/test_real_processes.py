"""The games over a running system: a bounded search in `make test-long`, more by the command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import wait_until
from tests.adversary import processes
from tests.adversary.game import Game, Script, search
from tests.adversary.test_perf import MARGIN

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


def test_machines_that_start_are_seen(town: processes.Town) -> None:
    """The count measures something: the owner's own word starts more than one."""
    path = f"/api/v0/endptjobs/{town.mine}/"
    assert processes.started(lambda town: town.owner.call("PUT", path, {"min_load": 2_000.0})) >= 1
    town.owner.call("PUT", path, {"min_load": 10.0})
    assert processes.started(lambda town: None) == 0


LIES: dict[str, Script] = {
    "perf 1e12": [("max_perf", 1e12)],
    "perf 1e12, slots 1e6": [("max_perf", 1e12), ("slots", 1e6)],
    "perf 600": [("max_perf", 600)],
}


def test_a_liar_beside_an_honest_machine_gets_its_share_and_stops_nobody(
    town: processes.Town,
) -> None:
    path = f"/api/v0/endptjobs/{town.mine}/"
    fastest = max(float(row["perf"]) for row in town.owner.ready_workers(town.mine))
    town.owner.call("PUT", path, {"min_load": 1.4 * fastest})  # more than one of them serves
    wait_until("two machines", lambda: len(town.owner.ready_workers(town.mine)) >= 2, 240.0)
    n_ready = len(town.owner.ready_workers(town.mine))
    shares = {name: processes.share_of_liar(script) for name, script in LIES.items()}
    assert {name: got for name, got in shares.items() if got > 1 / n_ready + MARGIN} == {}
    assert len(town.owner.ready_workers(town.mine)) >= n_ready
    town.owner.call("PUT", path, {"min_load": 10.0})
