"""Workers that nobody hears from: lost one by one they are replaced, all at once they are not."""

from __future__ import annotations

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, DrainWorker, RentOffer, StartWorker
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.snapshot import PendingRental, ScalingPlan, Waiting, WorkerFacts
from tests.core.test_scaling import NOW, make_snapshot, make_worker, of_kind


def unreachable(instance_id: int, for_s: float) -> WorkerFacts:
    """A worker that has been unreachable for so long."""
    return make_worker(instance_id, WorkerState.UNREACHABLE, state_since=NOW - for_s)


def decide(*workers: WorkerFacts, **over: object) -> ScalingPlan:
    """The plan for a group that wants one worker ready at any time."""
    memory = decide_scaling(make_snapshot(make_worker(99)), {}, NOW - 5000).memory
    facts: dict[str, object] = {"min_load": 70.0, "max_workers": 9, "test_workers": 0, **over}
    snapshot = make_snapshot(*workers, **facts)
    return decide_scaling(snapshot, memory, NOW)


def returned(plan: ScalingPlan) -> set[int]:
    """The instances that go back."""
    return {action.instance_id for action in of_kind(plan, DestroyWorker)}


@pytest.mark.parametrize(
    ("for_s", "n_rented", "gone"), [(60.0, 0, set()), (150.0, 1, set()), (700.0, 1, {1})]
)
def test_another_is_rented_after_two_minutes_and_the_lost_one_returned_after_ten(
    for_s: float, n_rented: int, gone: set[int]
) -> None:
    plan = decide(unreachable(1, for_s))
    assert len(of_kind(plan, RentOffer)) == n_rented
    assert returned(plan) == gone


def test_a_worker_silent_for_a_moment_is_waited_for() -> None:
    plan = decide(make_worker(1, WorkerState.SUSPECT, state_since=NOW - 5))
    assert not of_kind(plan, RentOffer)
    assert returned(plan) == set()


def test_workers_lost_one_after_another_are_returned_though_none_is_left() -> None:
    plan = decide(*(unreachable(i, 1000.0 - 90.0 * i) for i in range(4)))
    assert returned(plan) == {0, 1, 2, 3}


@pytest.mark.parametrize("n_ready", [0, 2])
def test_most_of_a_group_silent_at_once_is_our_own_trouble(n_ready: int) -> None:
    silent = [unreachable(i, 5000.0 + 15.0 * i) for i in range(3)]
    plan = decide(*silent, *(make_worker(10 + i) for i in range(n_ready)))
    assert returned(plan) == set()
    assert not of_kind(plan, RentOffer)


def test_on_a_doubtful_inventory_nothing_is_returned_or_rented() -> None:
    plan = decide(unreachable(1, 700.0), inventory_is_known=False)
    assert returned(plan) == set()
    assert not of_kind(plan, RentOffer)


# Requests are late, and nobody is heard: whose trouble it is shows by what starts now.

OVERDUE = Waiting(n=3, load=30.0, n_overdue=3, overdue_load=30.0)


def silent(instance_id: int, for_s: float = 100.0) -> WorkerFacts:
    """A worker that says nothing, and is not suspected, as most are silent with it."""
    return make_worker(instance_id, heard_at=NOW - for_s, started_at=NOW - 5000)


@pytest.mark.parametrize(
    ("for_s", "waiting", "n_started"), [(100, OVERDUE, 1), (50, OVERDUE, 0), (100, Waiting(n=1), 0)]
)
def test_what_is_held_starts_once_requests_are_late_and_nobody_is_heard(
    for_s: float, waiting: Waiting, n_started: int
) -> None:
    cold = make_worker(5, WorkerState.STOPPED)
    plan = decide(silent(1, for_s), silent(2, for_s), cold, min_load=140.0, waiting=waiting)
    assert len(of_kind(plan, StartWorker)) == n_started
    assert not of_kind(plan, RentOffer)
    assert not of_kind(plan, DrainWorker)
    assert returned(plan) == set()


@pytest.mark.parametrize("n_silent", [2, 6])
def test_where_nothing_is_held_one_is_rented_and_no_second_while_it_comes(n_silent: int) -> None:
    fleet = [silent(i) for i in range(n_silent)]
    over: dict[str, object] = {"min_load": 70.0 * n_silent, "waiting": OVERDUE}
    (rental,) = of_kind(decide(*fleet, **over), RentOffer)
    rent = PendingRental(
        autogroup_id=1, gpu_type="1x RTX 4090", usd_per_hour=0.5, begun_at=NOW - 5, machine_id=7
    )
    assert not rental.offer.is_bid
    assert not of_kind(decide(*fleet, rentals=(rent,), **over), RentOffer)
    loads = make_worker(9, WorkerState.LOADING, created_at=NOW - 60, perf=0.0, loaded_at=0.0)
    assert not of_kind(decide(*fleet, loads, **over), RentOffer)


def test_who_stays_silent_after_another_came_up_is_lost_though_all_fell_silent_at_once() -> None:
    """What kept their reports from us would have kept its."""
    lost = [
        make_worker(i, WorkerState.UNREACHABLE, state_since=NOW - 620.0, heard_at=NOW - 800)
        for i in range(3)
    ]
    before = make_worker(9, started_at=NOW - 5000, heard_at=NOW - 5)
    since = make_worker(9, started_at=NOW - 650, heard_at=NOW - 5)
    assert returned(decide(*lost, before)) == set()
    assert returned(decide(*lost, since)) == {0, 1, 2}
