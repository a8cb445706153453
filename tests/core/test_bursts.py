"""A burst at a small fleet: the queue itself starts cold workers, in the round that sees it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DrainWorker, RecallWorker, StartWorker
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.snapshot import GroupSnapshot, ScalingPlan, Traffic, Waiting
from tests.core.test_scaling import NOW, make_snapshot, make_worker, of_kind

PERF = 1060.0
COLD = (2425.0,) * 4


def burst_snapshot(second: float, slots: int) -> GroupSnapshot:
    """One ready worker and four cold ones, `second` s into a burst from 0 to 2,800 tokens/s."""
    arrived = 2800.0 * 2.0
    waiting = max(2800.0 * second - PERF * second, 0.0)
    return make_snapshot(
        make_worker(1, perf=PERF, slots=slots, n_working=max(slots, 4), pending_load=900.0),
        *(
            make_worker(2 + i, WorkerState.STOPPED, perf=perf, slots=slots)
            for i, perf in enumerate(COLD)
        ),
        waiting=Waiting(n=int(waiting / 108), load=waiting),
        traffic=Traffic(elapsed_s=2.0, arrived_load=arrived, n_arrived=int(arrived / 108)),
        target_util=0.9,
    )


def memory_of_quiet(start_s: float) -> Mapping[str, object]:
    """What a group remembers that was quiet, and whose starts took so long."""
    quiet = make_snapshot(make_worker(1, perf=PERF, slots=0))
    memory = dict(decide_scaling(quiet, {}, NOW - 10).memory)
    return {**memory, "start_times": [20.0, math.log(start_s), 0.1], "mean_load": 108.0}


def play(slots: int, start_s: float) -> tuple[float, ScalingPlan]:
    """Seconds into the burst at which the first cold worker is started, and that plan."""
    memory = memory_of_quiet(start_s)
    plan = decide_scaling(burst_snapshot(0.0, slots), memory, NOW)
    for second in (2.0, 4.0, 6.0, 8.0, 10.0):
        plan = decide_scaling(burst_snapshot(second, slots), memory, NOW + second)
        if of_kind(plan, StartWorker):
            return second, plan
        memory = plan.memory
    return math.inf, plan


@pytest.mark.parametrize("slots", [0, 8, 64])
def test_a_burst_starts_cold_workers_while_its_first_requests_can_still_be_on_time(
    slots: int,
) -> None:
    second, plan = play(slots, start_s=1.5)
    assert second <= 4.0
    assert of_kind(plan, StartWorker)[0].reason.code == "hot_short"


@pytest.mark.parametrize("start_s", [20.0, 60.0])
def test_starts_slower_than_the_target_do_not_hold_the_burst_up_where_slots_are_unknown(
    start_s: float,
) -> None:
    assert play(0, start_s)[0] <= 4.0


def test_a_queue_that_will_be_gone_in_time_starts_nothing() -> None:
    calm = make_snapshot(
        make_worker(1, perf=PERF, slots=0, n_working=4, pending_load=900.0),
        make_worker(2, WorkerState.STOPPED, perf=2000.0, slots=0),
        waiting=Waiting(n=10, load=1080.0),
        traffic=Traffic(elapsed_s=2.0, arrived_load=1000.0, n_arrived=9),
    )
    assert not of_kind(decide_scaling(calm, memory_of_quiet(1.5), NOW), StartWorker)


def test_a_worker_of_the_vendor_counts_by_what_it_cannot_finish_within_the_target() -> None:
    full = make_snapshot(
        make_worker(1, perf=100.0, slots=0, n_working=40, pending_load=6000.0),
        make_worker(2, WorkerState.STOPPED, perf=400.0, slots=0),
        traffic=Traffic(elapsed_s=2.0, arrived_load=0.0),
        min_load=50.0,
    )
    assert decide_scaling(full, {}, NOW).hot_target == pytest.approx(500.0)  # (6000 - 1000) / 10


def test_a_recall_says_what_there_was_before_it() -> None:
    parked = [
        make_worker(i, WorkerState.DRAINING, after_drain="stop", n_working=2, perf=900.0)
        for i in (1, 2)
    ]
    snapshot = make_snapshot(*parked, min_load=125.0)
    (recall,) = of_kind(decide_scaling(snapshot, {}, NOW), RecallWorker)
    assert recall.reason.facts["had"] == 0.0


def test_resuming_a_group_recalls_no_more_than_is_wanted() -> None:
    workers = (make_worker(1, perf=900.0), make_worker(2, WorkerState.DRAINING, perf=857.0))
    suspended = make_snapshot(*workers, min_load=125.0, state=GroupState.SUSPENDED)
    memory = decide_scaling(suspended, {}, NOW).memory
    resumed = replace(
        suspended,
        group=replace(suspended.group, state=GroupState.ACTIVE),
        workers=(workers[0], replace(workers[1], after_drain="stop", n_working=1)),
    )
    plan = decide_scaling(resumed, memory, NOW + 5)
    assert not of_kind(plan, RecallWorker)
    assert not of_kind(plan, DrainWorker)


def two_autogroups(weights: tuple[float, float]) -> GroupSnapshot:
    """A dear autogroup and a cheap one, a worker cold in each; one worker's load is wanted."""
    return make_snapshot(
        make_worker(1, WorkerState.STOPPED, usd_per_hour=0.9),
        make_worker(2, WorkerState.STOPPED, usd_per_hour=0.4, autogroup_id=2),
        autogroups=tuple(
            Autogroup(autogroup_id=i, endpoint_id=1, created_at=0, weight=weight, test_workers=0)
            for i, weight in zip((1, 2), weights, strict=True)
        ),
        min_load=90.0,
    )


@pytest.mark.parametrize(("weights", "started"), [((1.0, 1.0), {2}), ((1.0, 9.0), {1, 2})])
def test_equal_weights_are_one_pool_by_price_and_unequal_ones_a_split(
    weights: tuple[float, float], started: set[int]
) -> None:
    plan = decide_scaling(two_autogroups(weights), {}, NOW)
    assert {action.instance_id for action in of_kind(plan, StartWorker)} == started


def test_an_oversized_ready_worker_is_swapped_for_a_cheap_cold_one() -> None:
    large = make_worker(1, perf=900.0, usd_per_hour=0.60)
    small = make_worker(2, WorkerState.STOPPED, perf=200.0, usd_per_hour=0.16)
    snapshot = make_snapshot(large, small, min_load=100.0)
    plan = decide_scaling(snapshot, {}, NOW)
    (start,) = of_kind(plan, StartWorker)
    assert (start.instance_id, start.reason.code) == (2, "cheaper_cover")
    both = replace(snapshot, workers=(large, replace(small, state=WorkerState.READY)))
    (drain,) = of_kind(decide_scaling(both, plan.memory, NOW + 30), DrainWorker)
    assert drain.instance_id == 1


def test_a_swap_that_saves_little_is_not_worth_a_start() -> None:
    ready = make_worker(1, perf=200.0, usd_per_hour=0.20)
    cold = make_worker(2, WorkerState.STOPPED, perf=200.0, usd_per_hour=0.16)
    plan = decide_scaling(make_snapshot(ready, cold, min_load=100.0), {}, NOW)
    assert not of_kind(plan, StartWorker)


def test_what_waits_counts_although_nothing_serves_and_nothing_arrives_any_more() -> None:
    known = decide_scaling(make_snapshot(make_worker(1, perf=100.0, slots=8)), {}, NOW - 900).memory
    gone = make_snapshot(
        waiting=Waiting(n=80, load=8000.0, n_overdue=80, overdue_load=8000.0),
        traffic=Traffic(elapsed_s=5.0),
    )
    plan = decide_scaling(gone, known, NOW)
    assert plan.figures["occupancy"] == pytest.approx(8000 / 120)
    assert plan.hot_target > 0
    assert plan.total_target > plan.hot_target


def before_the_first_worker(n: int) -> Mapping[str, object]:
    """What a new group remembers of `n` requests of 40 that came in its first ten seconds."""
    loading = make_worker(1, WorkerState.LOADING, perf=0.0, loaded_at=0.0)
    memory: Mapping[str, object] = {}
    for second in range(0, 200, 5):
        late = n if second >= 10 else 0
        waits = Waiting(n=n, load=40.0 * n, n_overdue=late, overdue_load=40.0 * late)
        arrived = n if second == 5 else 0
        traffic = Traffic(elapsed_s=5.0, arrived_load=40.0 * arrived, n_arrived=arrived)
        quiet = make_snapshot(loading, traffic=traffic)
        snapshot = make_snapshot(loading, waiting=waits, traffic=traffic) if second else quiet
        memory = decide_scaling(snapshot, memory, NOW + second).memory
    return memory


def test_a_burst_before_the_first_worker_is_rented_for_by_what_slots_then_show() -> None:
    memory = before_the_first_worker(320)
    ready = make_worker(1, perf=20.0, slots=8, n_working=8, loaded_at=NOW + 200)
    backlog = Waiting(n=312, load=12_480.0, n_overdue=312, overdue_load=12_480.0)
    measured = decide_scaling(make_snapshot(ready, waiting=backlog), memory, NOW + 200)
    asked = 20.0 + 12_480.0 / 120.0  # its slots, and what is late within two minutes
    assert measured.figures["occupancy"] == pytest.approx(asked)
    assert measured.total_target == pytest.approx(1.25 * asked, rel=0.05)
    served = decide_scaling(make_snapshot(ready), measured.memory, NOW + 300)
    assert served.total_target <= 1.25 * asked


def test_who_gave_up_before_the_first_worker_was_ready_finds_one_worker_held() -> None:
    memory = before_the_first_worker(320)
    ready = make_worker(1, perf=20.0, slots=8, loaded_at=NOW + 200)
    plan = decide_scaling(make_snapshot(ready), memory, NOW + 200)
    assert plan.hot_target == pytest.approx(20.0)
    assert not of_kind(plan, DrainWorker)
