"""What is told of machines, worker by worker: lost, unreachable, told to go, told to stop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.troubles import Trouble, TroubleKind
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.services.rounds.journal.machines import lost_machines, machine_troubles
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
S, K = WorkerState, TroubleKind


def worker(instance_id: int, state: WorkerState, for_s: float, **changes: object) -> Worker:
    one = make_worker(instance_id, NOW, state=state, state_since=NOW - for_s, usd_per_hour=0.456)
    return replace(one, **changes)  # type: ignore[arg-type]


def lost(*workers: Worker) -> list[Trouble]:
    return list(lost_machines(workers, "endpoint:7", NOW))


def told(*workers: Worker, seen_until: float = NOW) -> list[Trouble]:
    return list(machine_troubles(workers, "endpoint:7", seen_until, {}))


def test_machines_that_went_with_requests_under_way_are_one_trouble() -> None:
    gone = worker(1, S.UNREACHABLE, 30.0, n_working=2)
    away = worker(2, S.UNAVAILABLE, 599.0, n_working=3)
    quiet = [
        worker(3, S.UNREACHABLE, 30.0, n_working=0),
        worker(4, S.UNREACHABLE, 600.0, n_working=5),
        worker(5, S.READY, 30.0, n_working=5),
    ]
    (trouble,) = lost(gone, *quiet, away)
    assert (trouble.kind, trouble.scope, trouble.subject) == (K.MACHINES_LOST, "endpoint:7", "")
    assert trouble.facts == {"n_machines": 2, "n_requests": 5}
    assert "in the last 10 minutes: 2 (1, 2)" in trouble.message
    assert "under way there: 5" in trouble.message
    assert lost(*quiet) == []


def test_a_long_list_of_lost_machines_is_cut() -> None:
    (trouble,) = lost(*(worker(n, S.UNREACHABLE, 1.0, n_working=1) for n in range(1, 13)))
    assert "12 (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)" in trouble.message


def test_ready_without_an_address_is_told() -> None:
    (trouble,) = told(worker(1, S.READY, 1.0, url="", machine_id=9), worker(2, S.READY, 1.0))
    assert (trouble.kind, trouble.subject) == (K.NOT_USABLE, "1")
    assert trouble.facts == {"instance_id": 1, "machine_id": 9}


@pytest.mark.parametrize(
    ("one", "seen_until", "word"),
    [
        (worker(1, S.DESTROYING, 0.0), NOW, "told to go"),
        (worker(1, S.DESTROYING, 9e5), NOW - 9e6, "told to go"),
        (worker(1, S.STOPPING, 301.0), NOW, "told to stop"),
    ],
)
def test_what_does_not_go_is_told_with_what_it_may_bill(
    one: Worker, seen_until: float, word: str
) -> None:
    (trouble,) = told(one, worker(2, S.READY, 9e5), seen_until=seen_until)
    assert (trouble.kind, trouble.subject) == (K.WILL_NOT_GO, "1")
    assert word in trouble.message
    assert "$0.46 an hour" in trouble.message
    assert trouble.facts == {"instance_id": 1, "usd_per_hour": 0.456}


def test_a_stop_is_late_by_what_lists_showed_not_by_the_clock() -> None:
    stopping = worker(1, S.STOPPING, 400.0)
    assert told(worker(1, S.STOPPING, 300.0)) == []
    assert told(stopping, seen_until=NOW - 100) == []
    assert len(told(stopping, seen_until=NOW - 99)) == 1
