"""The law's terms one at a time, by hand: floors, holds, rest, the pool, and what it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from chalicelib.core.model.endpoint_group import FloorSchedule, GroupState
from chalicelib.core.scaling.law import (
    Knob,
    Targets,
    knob_for,
    learn_caution,
    prior_caution,
    set_targets,
    slide_peak,
    zero_targets,
)
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.occupancy import Demand
from chalicelib.core.scaling.snapshot import GroupSnapshot, Traffic
from tests.core.test_scaling import NOW, make_snapshot, make_worker

KNOB = Knob(utilisation=2.0, hold_s=100.0)
SMOOTH = replace(KNOB, smooth_s=10.0, rise_s=10.0)
BUSY = Demand(occupancy=50.0, serving=50.0, load_rate=80.0, has_work=True)
IDLE = Demand(occupancy=0.0, serving=0.0, load_rate=0.0, has_work=False)


def targets(
    demand: Demand = BUSY,
    knob: Knob = KNOB,
    memory: ScalingMemory | None = None,
    now: float = NOW,
    **over: object,
) -> Targets:
    return set_targets(make_snapshot(**over), memory or ScalingMemory(), demand, knob, now)


def test_occupancy_over_utilisation_is_hot_and_the_pool_a_quarter_more() -> None:
    seen = targets()
    assert (seen.hot, seen.binding, seen.min_ready) == (25.0, "occupancy", 1)
    assert seen.total == pytest.approx(1.25 * 25.0)


def test_headroom_is_added_once_there_is_something_to_serve() -> None:
    rises = Knob(utilisation=1.0, hold_s=100.0, headroom=2.0, rise_s=10.0)
    memory = ScalingMemory(at=NOW - 10.0, mean_occupancy=30.0)
    seen = targets(knob=rises, memory=memory)
    keep = math.exp(-1.0)
    mean = keep * 30.0 + (1.0 - keep) * 50.0
    square = (1.0 - math.exp(-10.0 / 2400.0)) * (50.0 - mean) ** 2
    assert seen.hot == pytest.approx(50.0 + 2.0 * math.sqrt(2.0 * square))
    assert memory.mean_occupancy == pytest.approx(mean)
    first = ScalingMemory(square_rise=9.0)  # what was remembered before any round is nothing
    assert targets(knob=rises, memory=first).hot == pytest.approx(50.0)
    back = ScalingMemory(at=NOW + 5.0, mean_occupancy=10.0, square_rise=0.0)
    targets(knob=rises, memory=back)  # a clock that goes back moves no mean
    assert back.mean_occupancy == 10.0


def test_headroom_counts_from_the_first_load_on_and_a_bucket_is_one_item() -> None:
    rises = Knob(utilisation=1.0, hold_s=100.0, headroom=2.0, rise_s=10.0)
    half = Demand(occupancy=0.5, serving=0.5, load_rate=0.5, has_work=True)
    memory = ScalingMemory(at=NOW - 10.0, mean_occupancy=0.5, square_rise=8.0)
    assert targets(half, rises, memory).hot == pytest.approx(0.5 + 2.0 * 4.0, rel=0.01)
    peaks = [[0.0, 5.0], [10.0, 3.0]]
    assert slide_peak(peaks, 2.0, 12.0, window_s=100.0, bucket_s=10.0) == peaks


@pytest.mark.parametrize(
    ("over", "demand", "hot", "binding"),
    [
        ({"min_load": 40.0}, BUSY, 40.0, "min_load"),
        ({"min_load": 40.0, "target_util": 0.8}, IDLE, 50.0, "min_load"),
        ({"min_load": 10.0}, BUSY, 25.0, "occupancy"),
        ({"target_util": 0.8}, BUSY, 100.0, "target_util"),
        ({"target_util": 0.8}, replace(BUSY, occupancy=90.0), 112.5, "target_util"),
        ({"target_util": 0.8}, replace(BUSY, occupancy=300.0), 200.0, "target_util"),
        ({}, replace(BUSY, occupancy=300.0), 150.0, "occupancy"),
        ({}, IDLE, 0.0, "idle"),
    ],
)
def test_the_largest_of_the_terms_is_hot_and_named(
    over: dict[str, object], demand: Demand, hot: float, binding: str
) -> None:
    seen = targets(demand, **over)  # type: ignore[arg-type]
    assert seen.hot == pytest.approx(hot)
    assert seen.binding == binding


def test_a_schedules_floor_is_a_floor() -> None:
    snapshot = make_snapshot(min_load=1.0)
    always = FloorSchedule(cron="* * * * *", duration_s=3600, min_load=70.0)
    group = replace(snapshot.group, schedules=(always,))
    seen = set_targets(replace(snapshot, group=group), ScalingMemory(), IDLE, KNOB, NOW)
    assert (seen.hot, seen.binding) == (70.0, "min_load")


def test_what_is_below_a_share_of_one_request_is_none() -> None:
    memory = ScalingMemory(worker_perf=100.0, worker_slots=4.0)
    for occupancy in (10.0, 1.0, 0.1, 0.01, 1e-50):
        seen = targets(replace(BUSY, occupancy=occupancy, load_rate=0.0), memory=replace(memory))
        assert seen.hot == (occupancy / 2.0 if seen.hot else 0.0)
        assert (seen.hot > 0) is (occupancy / 2.0 >= 1.25), occupancy  # 5 % of a slot of 25
    at_edge = replace(memory)
    edge = targets(replace(BUSY, occupancy=2.5), memory=at_edge)
    assert edge.hot == 1.25
    assert [peak for _, peak in at_edge.hour_peaks] == [1.25]
    little = replace(BUSY, occupancy=1.0, load_rate=0.0)
    kept = targets(little, memory=replace(memory), min_cold_load=100.0)
    assert (kept.hot, kept.total) == (0.0, 100.0), "what the owner keeps cold makes it no demand"
    low = replace(BUSY, occupancy=0.2, load_rate=0.2)
    targets(low, memory=memory, target_util=1.0)
    assert [peak for _, peak in memory.hour_peaks] == [0.0]
    assert [peak for _, peak in memory.load_peaks] == [0.0]


def test_at_rest_a_rate_that_fades_is_no_demand_and_rents_nothing() -> None:
    memory = ScalingMemory(worker_perf=10.0, worker_slots=4.0)
    seen = targets(replace(IDLE, load_rate=0.4), memory=memory, target_util=1.0)
    assert (seen.hot, seen.to_rent, seen.binding) == (0.0, 0.0, "idle")
    assert targets(IDLE).to_rent == 0.0


def test_counts_that_floor_the_pool() -> None:
    assert targets(cold_workers=3).keep_loaded == 3
    assert targets(cold_mult=4.0).total == pytest.approx(100.0)
    assert targets(cold_mult=1.0).total == pytest.approx(31.25)
    assert targets(min_cold_load=77.0).total == 77.0
    assert targets(IDLE).total == 0.0
    assert targets(min_cold_load=7.0).total == pytest.approx(31.25)


def test_the_pool_remembers_demand_and_never_a_floor() -> None:
    memory = ScalingMemory()
    assert targets(memory=memory, min_load=1000.0).total == pytest.approx(1250.0)
    memory.at = NOW
    later = targets(replace(BUSY, occupancy=10.0), memory=memory, now=NOW + 60.0)
    # The peak of 25 still holds for the 100 s; the pool's is demand's, not the withdrawn floor's.
    assert later.total == pytest.approx(1.25 * 25.0)


@pytest.mark.parametrize(("hours", "total"), [(3.9, 115.0), (4.2, 12.5)])
def test_a_peak_is_remembered_for_four_hours(hours: float, total: float) -> None:
    memory = ScalingMemory()
    now = math.floor(NOW / 600.0) * 600.0
    targets(replace(BUSY, occupancy=200.0), memory=memory, now=now)
    memory.at = now
    seen = targets(replace(BUSY, occupancy=20.0), memory=memory, now=now + hours * 3600.0)
    assert seen.hot == 10.0
    assert seen.total == pytest.approx(total)


def test_grants_that_nobody_used_count_now_and_are_not_remembered() -> None:
    memory = ScalingMemory()
    unused = replace(BUSY, lasting_occupancy=4.0, lasting_rate=6.0)
    seen = targets(unused, memory=memory, target_util=0.5)
    assert seen.hot == pytest.approx(160.0)  # 80 arriving over a half
    assert seen.total == pytest.approx(1.25 * 160.0)
    assert [peak for _, peak in memory.hour_peaks] == [2.0]
    assert [peak for _, peak in memory.load_peaks] == [12.0]  # twice 6: what is there, at most
    rises = replace(KNOB, headroom=2.0, rise_s=10.0)
    restless = ScalingMemory(at=NOW - 10.0, mean_occupancy=30.0)
    headroom = targets(knob=rises, memory=restless).hot - 25.0
    same = ScalingMemory(at=NOW - 10.0, mean_occupancy=30.0)
    targets(unused, knob=rises, memory=same)
    assert [peak for _, peak in same.hour_peaks] == [pytest.approx(2.0 + headroom)]
    plain = ScalingMemory()
    targets(BUSY, memory=plain)
    assert [peak for _, peak in plain.hour_peaks] == [25.0]
    assert [peak for _, peak in plain.load_peaks] == [0.0]


def at_rest(memory: ScalingMemory, now: float, **over: object) -> bool:
    """Whether the memories of demand are cleared by a round without work."""
    traffic = Traffic(last_request_at=over.pop("last_request_at", None))  # type: ignore[arg-type]
    snapshot: GroupSnapshot = make_snapshot(traffic=traffic, **over)
    set_targets(snapshot, memory, replace(IDLE, load_rate=3.0), SMOOTH, now)
    return memory.load_rate == 0.0


def worked(**changes: float) -> ScalingMemory:
    known = {"at": NOW - 1.0, "worked_at": NOW - 50.0, "requested_at": NOW - 50.0}
    memory = ScalingMemory(load_rate=3.0, burst_rate=4.0, vouched_rate=2.0, square_rise=9.0)
    return replace(memory, **{**known, **changes})  # type: ignore[arg-type]


def test_rest_comes_after_the_hold_and_clears_what_fades() -> None:
    assert not at_rest(worked(worked_at=NOW - 100.0), NOW)  # the hold, to the second
    memory = worked(worked_at=NOW - 100.5, mean_raw=5.0, mean_occupancy=5.0)
    assert at_rest(memory, NOW)
    assert (memory.burst_rate, memory.vouched_rate, memory.mean_occupancy) == (0.0, 0.0, 0.0)
    assert memory.mean_raw == 0.0
    assert memory.square_rise > 8.0  # how restless it is, is known for forty minutes more
    assert at_rest(memory := worked(worked_at=NOW - 2401.0), NOW)
    assert memory.square_rise == 0.0
    assert at_rest(memory := worked(worked_at=NOW - 2400.0), NOW)
    assert memory.square_rise > 8.0


@pytest.mark.parametrize(
    ("timeout", "requested_s", "rests"),
    [
        (None, 99.0, False),
        (0.0, 99.0, False),
        (-1.0, 99.0, False),
        (60.0, 59.0, False),
        (60.0, 60.0, True),
        (0.5, 1.0, True),
        (300.0, 99.0, False),
    ],
)
def test_a_timeout_of_the_owners_ends_the_hold_earlier(
    timeout: float | None, requested_s: float, rests: bool
) -> None:
    memory = worked(requested_at=NOW - requested_s)
    assert at_rest(memory, NOW, inactivity_timeout=timeout) is rests


def test_new_requests_are_work_and_are_asked_for_by_now_at_the_latest() -> None:
    memory = worked(worked_at=NOW - 500.0)
    traffic = Traffic(n_arrived=1, last_request_at=NOW + 9.0)
    set_targets(make_snapshot(traffic=traffic), memory, IDLE, KNOB, NOW)
    assert (memory.worked_at, memory.requested_at) == (NOW, NOW)
    assert memory.load_rate == 3.0
    older = worked(requested_at=NOW - 5.0)
    assert not at_rest(older, NOW, last_request_at=NOW - 30.0)
    assert older.requested_at == NOW - 5.0
    none_came = worked()
    set_targets(make_snapshot(), none_came, IDLE, KNOB, NOW)
    assert none_came.worked_at == NOW - 50.0


@pytest.mark.parametrize(
    ("timeout", "requested_s", "n"),
    [
        (None, 1.0, 0),
        (0.0, 1.0, 0),
        (-1.0, 1e6, 1),
        (300.0, 299.0, 1),
        (300.0, 300.0, 0),
        (0.5, 0.1, 1),
    ],
)
def test_how_many_stay_ready_without_work(
    timeout: float | None, requested_s: float, n: int
) -> None:
    memory = worked(requested_at=NOW - requested_s)
    seen = targets(IDLE, memory=memory, inactivity_timeout=timeout)
    assert seen.min_ready == n
    never = targets(IDLE, memory=ScalingMemory(), inactivity_timeout=timeout, now=10.0)
    assert never.min_ready == (1 if timeout == -1.0 else 0)


def test_a_group_that_must_not_run_wants_nothing_and_keeps_what_it_has_loaded() -> None:
    snapshot = make_snapshot(make_worker(1), make_worker(2), state=GroupState.STOPPED)
    kept = zero_targets(snapshot, keeps_cold=True)
    assert (kept.hot, kept.total, kept.min_ready, kept.keep_loaded) == (0.0, 0.0, 0, 2)
    assert kept.binding == "group_state"
    assert zero_targets(snapshot, keeps_cold=False).keep_loaded == 0


def test_a_sliding_peak_keeps_the_largest_and_what_comes_after_it() -> None:
    peaks: list[list[float]] = []
    for now, value in ((0.0, 5.0), (4.0, 7.0), (12.0, 3.0), (14.0, 2.0), (21.0, 4.0), (31.0, 1.0)):
        peaks = slide_peak(peaks, value, now, window_s=20.0, bucket_s=10.0)
    # 7 replaced 5; 3 hid 2; 4 replaced 3; at 31 the bucket of 0 is over (31 - 20 - 10 = 1).
    assert peaks == [[20.0, 4.0], [30.0, 1.0]]
    assert slide_peak([[0.0, 7.0]], 7.0, 4.0, window_s=20.0, bucket_s=10.0) == [[0.0, 7.0]]
    assert slide_peak([[10.0, 7.0]], 1.0, 14.0, window_s=20.0, bucket_s=10.0) == [[10.0, 7.0]]
    assert slide_peak([[0.0, 7.0]], 7.0, 14.0, window_s=20.0, bucket_s=10.0) == [[10.0, 7.0]]
    assert slide_peak([[0.0, 7.0]], 1.0, 29.9, window_s=20.0, bucket_s=10.0)[0] == [0.0, 7.0]
    assert slide_peak([[0.0, 7.0]], 1.0, 30.0, window_s=20.0, bucket_s=10.0) == [[30.0, 1.0]]
    assert slide_peak([[90.0, 7.0]], 1.0, 5.0, window_s=20.0, bucket_s=10.0) == [[0.0, 1.0]]


def test_the_hold_is_of_the_mean_not_of_a_spike() -> None:
    knob = Knob(utilisation=1.0, hold_s=100.0, smooth_s=50.0)
    memory = ScalingMemory(at=NOW - 5.0, worked_at=NOW - 5.0)
    targets(knob=knob, memory=memory)  # 50 for one round: the mean sees a tenth of it
    mean = 50.0 * (1.0 - math.exp(-0.1))
    assert memory.mean_raw == pytest.approx(mean)
    memory.at = NOW
    seen = targets(replace(BUSY, occupancy=1.0), knob=knob, memory=memory, now=NOW + 5.0)
    assert seen.hot == pytest.approx(mean)
    memory.at = NOW + 5.0
    held = targets(replace(BUSY, occupancy=1.0), knob=knob, memory=memory, now=NOW + 99.0)
    assert held.hot == pytest.approx(mean)
    memory.at = NOW + 99.0
    over = targets(replace(BUSY, occupancy=1.0), knob=knob, memory=memory, now=NOW + 112.0)
    assert over.hot < 3.0


@pytest.mark.parametrize(
    ("slo", "caution"), [(0.95, -1.0), (0.99, -0.566), (0.999, 0.054), (1.0, 0.674)]
)
def test_the_first_caution_goes_by_the_nines(slo: float, caution: float) -> None:
    assert prior_caution(slo) == pytest.approx(caution, abs=2e-3)


def learned(
    caution: float = 0.0,
    *,
    rate: float = 1.0,
    tuned_for: float = 0.9,
    seen_s: float = 86_400.0,
    **traffic: int,
) -> float:
    memory = ScalingMemory(request_rate=rate, tuned_for=tuned_for, caution=caution, usage_s=seen_s)
    learn_caution(memory, Traffic(**traffic), 0.9, is_starved=False)
    return memory.caution


def test_what_is_learned_of_late_requests_by_hand() -> None:
    # 0.5 x (n late / (a tenth x 0.85) - n) / (a request a second x six hours)
    step = 0.5 * (2 / 0.085 - 10) / 21_600
    assert learned(n_started=10, n_late=2) == pytest.approx(step)
    assert learned(n_started=10, n_late=99) == pytest.approx(0.5 * (10 / 0.085 - 10) / 21_600)
    assert learned(n_started=1, n_late=0) == pytest.approx(-0.5 / 21_600)
    assert learned(n_started=0, n_late=5) == 0.0
    # A new group's steps are for the time that it has been seen: an hour at least.
    assert learned(n_started=10, n_late=2, seen_s=10_800.0) == pytest.approx(2 * step)
    assert learned(n_started=10, n_late=2, seen_s=3_600.0) == pytest.approx(6 * step)
    assert learned(n_started=10, n_late=2, seen_s=0.0) == pytest.approx(6 * step)
    assert learned(n_started=10, n_late=-5) == pytest.approx(-5 / 21_600)
    rare = 0.5 * (1 / 0.085 - 1)  # a request in six hours at the least
    assert learned(rate=0.0, n_started=1, n_late=1) == pytest.approx(min(rare, 0.2)) == 0.2
    assert learned(rate=0.0, n_started=1, n_late=0) == -0.2
    assert learned(5.0, rate=0.0, n_started=1, n_late=1) == pytest.approx(5.25)
    assert learned(11.9, rate=0.0, n_started=1, n_late=1) == 12.0
    assert learned(-1.9, rate=0.0, n_started=1, n_late=0) == -2.0


def test_another_target_starts_from_its_own_prior() -> None:
    assert learned(7.0, tuned_for=0.99, n_started=0) == pytest.approx(prior_caution(0.9))


def test_the_knobs_by_hand() -> None:
    at = {"start_s": 20.0, "target_wait_s": 10.0, "service_s": 5.0}
    calm = knob_for(-1.0, **at)
    assert calm.utilisation == pytest.approx(1.0 + 0.65 * 10.0 / 5.0)
    assert (calm.headroom, calm.pool_window_s) == (0.0, 14_400.0)
    assert (calm.hold_s, calm.smooth_s, calm.rise_s) == (180.0, 60.0, 10.0)
    strict = knob_for(2.0, **at)
    assert (strict.utilisation, strict.headroom, strict.pool_window_s) == (1.0, 2.0, 18_000.0)
    assert knob_for(0.5, **at).pool_window_s == 16_200.0
    assert knob_for(0.5, **at).headroom == 0.5
    assert knob_for(0.0, start_s=1.0, target_wait_s=10.0, service_s=5.0).hold_s == 30.0
    assert knob_for(0.0, start_s=900.0, target_wait_s=10.0, service_s=5.0).hold_s == 1800.0
    quick = knob_for(-1.0, start_s=20.0, target_wait_s=1.0, service_s=0.0)
    assert quick.utilisation == pytest.approx(651.0)
    assert knob_for(-2.0, start_s=1.0, target_wait_s=1e9, service_s=0.0).utilisation == 1e6 + 1.0
    assert knob_for(-1.0, start_s=1.0, target_wait_s=1.0, service_s=math.inf).utilisation == 1.0
