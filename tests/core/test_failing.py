"""A worker that fails its requests is found by its share against its peers, and not too soon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chalicelib.core.fleet.failing import (
    FADING_HALF_S,
    Outcomes,
    all_fail,
    find_failing,
    follow_outcomes,
)
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0


def worker(instance_id: int, **changes: object) -> Worker:
    values = {"boot_id": "b1", "started_at": NOW - 900, "state": WorkerState.READY, **changes}
    return make_worker(instance_id, NOW, **values)


def fleet_of(*counts: tuple[float, float]) -> tuple[Mapping[str, Outcomes], list[Worker]]:
    """Workers 1, 2, … with (failed, all) of their last requests."""
    outcomes = {
        str(i): Outcomes(n=n, n_bad=bad, at=NOW, boot_id="b1")
        for i, (bad, n) in enumerate(counts, start=1)
    }
    return outcomes, [worker(i) for i in range(1, len(counts) + 1)]


@pytest.mark.parametrize(
    ("counts", "failing"),
    [
        ([(4, 4), (0, 4)], [1]),  # a black hole, soon
        ([(5, 5), (0, 0)], []),  # five are too few without a peer to compare with
        ([(9, 9), (0, 0)], [1]),
        ([(9, 9)], [1]),  # the only worker
        ([(9, 12)], []),  # the only worker serves some
        ([(30, 100), (1, 100)], []),  # fewer than half fail: others decide about its requests
        ([(60, 100), (1, 100)], [1]),
        ([(6, 6), (2, 2)], []),
        ([(20, 20), (20, 20)], []),  # all fail alike: the requests are at fault
        ([(18, 20), (16, 20)], []),
        ([(20, 20), (7, 20)], [1]),  # beside poisoned requests a dead worker still stands out
        ([(8, 8), (8, 8), (0, 9), (0, 9)], [1]),  # two of four: one at a time
    ],
)
def test_who_fails(counts: list[tuple[float, float]], failing: list[int]) -> None:
    outcomes, workers = fleet_of(*counts)
    assert sorted(find_failing(outcomes, workers, NOW)) == failing


def test_the_words_compare_it_with_its_peers() -> None:
    outcomes, workers = fleet_of((12, 12), (1, 60))
    assert find_failing(outcomes, workers, NOW) == {
        1: "12 of its last 12 requests failed, of the others' 1 of 60"
    }


def test_no_more_are_set_aside_while_one_reboots() -> None:
    outcomes, workers = fleet_of((8, 8), (8, 8), (0, 9), (0, 9))
    rebooting = replace(workers[0], state=WorkerState.REBOOTING)
    assert find_failing(outcomes, [rebooting, *workers[1:]], NOW) == {}


def test_who_drains_for_its_failures_still_fails() -> None:
    outcomes, workers = fleet_of((8, 8), (0, 9))
    draining = replace(
        workers[0], state=WorkerState.DRAINING, after_drain=AfterDrain.REBOOT, drain_by=NOW + 60
    )
    assert list(find_failing(outcomes, [draining, workers[1]], NOW)) == [1]


def test_clients_complaints_count_until_it_comes_up_again() -> None:
    doubted = worker(1, state=WorkerState.SUSPECT, doubted_at=NOW - 5)
    assert list(find_failing({}, [doubted, worker(2)], NOW)) == [1]
    assert find_failing({}, [replace(doubted, started_at=NOW - 1), worker(2)], NOW) == {}


def test_counters_are_followed_and_fade() -> None:
    unseen = follow_outcomes({}, [worker(1, n_served=900, n_errored=400)], NOW - 10)
    assert (unseen["1"].n, unseen["1"].n_bad) == (0, 0), "its past is unknown"
    first = follow_outcomes(unseen, [worker(1, n_served=1000, n_errored=401)], NOW)
    assert (first["1"].n, first["1"].n_bad) == (101, 1)
    later = follow_outcomes(first, [worker(1, n_served=1000, n_errored=405)], NOW + FADING_HALF_S)
    assert (later["1"].n, later["1"].n_bad) == (50.5 + 4, 0.5 + 4)


def test_a_reboot_begins_anew_and_a_worker_without_counters_is_not_judged() -> None:
    first = follow_outcomes({}, [worker(1, n_errored=9)], NOW)
    again = follow_outcomes(first, [worker(1, boot_id="b2", n_served=2)], NOW + 60)
    assert (again["1"].n, again["1"].n_bad) == (2, 0)
    assert follow_outcomes({}, [worker(2, boot_id="")], NOW) == {}
    assert follow_outcomes(first, [worker(1, state=WorkerState.REBOOTING)], NOW + 60) == {}


def test_when_most_requests_fail_everywhere_it_is_said_of_the_group() -> None:
    found = all_fail(*fleet_of((20, 20), (18, 20)))
    assert found is not None
    assert (found.n, found.n_bad) == (40, 38)
    assert all_fail(*fleet_of((20, 20), (0, 30))) is None
    assert all_fail(*fleet_of((4, 4))) is None
