"""Workers that nobody hears from: lost one by one they are replaced, all at once they are not."""

from __future__ import annotations

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, RentOffer
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.snapshot import ScalingPlan, WorkerFacts
from tests.core.test_scaling import NOW, make_snapshot, make_worker, of_kind


def unreachable(instance_id: int, for_s: float) -> WorkerFacts:
    """A worker that has been unreachable for so long."""
    return make_worker(instance_id, WorkerState.UNREACHABLE, state_since=NOW - for_s)


def decide(*workers: WorkerFacts, known: bool = True) -> ScalingPlan:
    """The plan for a group that wants one worker ready at any time."""
    memory = decide_scaling(make_snapshot(make_worker(99)), {}, NOW - 5000).memory
    snapshot = make_snapshot(
        *workers, min_load=70.0, max_workers=9, inventory_is_known=known, test_workers=0
    )
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
    plan = decide(unreachable(1, 700.0), known=False)
    assert returned(plan) == set()
    assert not of_kind(plan, RentOffer)
