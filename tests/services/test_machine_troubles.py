"""What is told of machines, worker by worker: lost, unreachable, told to go, told to stop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.set_aside import Failure
from chalicelib.core.fleet.troubles import Trouble, TroubleKind
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.services.rounds.journal.machines import (
    lost_machines,
    machine_troubles,
    suspected_machines,
    unstoppable_machines,
)
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


def refused(n: int, problem: str = "forbidden", until: float = NOW) -> Failure:
    return Failure(n=n, at=NOW - 60.0, until=until, problem=problem)


def test_what_vast_said_of_an_order_is_told_with_the_machine_that_stays() -> None:
    going = worker(1, S.DESTROYING, 400.0)
    failures = {"order:1": refused(3), "order:2": refused(9, "other")}
    (trouble,) = machine_troubles([going], "endpoint:7", NOW, failures)
    assert trouble.message.endswith("; 3 orders came to nothing, lastly: forbidden")
    (quiet,) = machine_troubles([going], "endpoint:7", NOW, {"order:2": refused(9)})
    assert "came to nothing" not in quiet.message


def test_machines_that_do_not_stop_are_one_trouble_for_as_long_as_nothing_is_parked() -> None:
    def found(failure: Failure, endpoint_id: int = 7) -> list[Trouble]:
        failures = {"stopping:7": failure}
        return list(unstoppable_machines(endpoint_id, "endpoint:7", failures, NOW))

    (one,) = found(refused(1, "", until=NOW + 600.0))
    assert (one.kind, one.scope, one.subject) == (K.WILL_NOT_GO, "endpoint:7", "stop")
    assert (
        "1 machine in a row ran on when told to stop, and was returned; for 10 more" in one.message
    )
    (two,) = found(refused(2, until=NOW + 90.0))
    assert "2 machines in a row" in two.message
    assert "and were returned (Vast said: forbidden); for 2 more minutes" in two.message
    assert found(refused(2, until=NOW + 0.5))
    assert found(refused(2, until=NOW)) == []
    assert found(refused(2, until=NOW + 90.0), endpoint_id=8) == []


def test_an_instance_that_may_be_a_lost_rental_is_named_with_the_label_that_makes_it_ours() -> None:
    (trouble,) = suspected_machines({7: "0123456789abcdefTOKENMAC"})
    assert (trouble.kind, trouble.scope, trouble.subject) == (K.LABEL_CHANGED, "account", "7")
    assert "label it '0123456789abcdefTOKENMAC' and it is adopted" in trouble.message


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
    assert "12 (1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more)" in trouble.message


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
