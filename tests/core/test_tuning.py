"""What the caution learns from requests that were late."""

from __future__ import annotations

import pytest

from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.law import (
    BUDGET_SHARE,
    CAUTION_HIGH,
    CAUTION_LOW,
    GAIN_WINDOW_S,
    YOUNG_CAUTION,
    YOUNG_WINDOW_S,
    knob_for,
    learn_caution,
    prior_caution,
    raise_young_caution,
    unbuffered,
)
from chalicelib.core.scaling.memory import LEVELS, ScalingMemory
from chalicelib.core.scaling.snapshot import ScalingPlan, Traffic
from tests.core.test_scaling import NOW, make_snapshot, make_worker


def learned(n_late: int, *, is_starved: bool = False, n_started: int = 100) -> float:
    """The step of the caution after a round in which so many of 100 were late."""
    memory = ScalingMemory(request_rate=20.0, tuned_for=0.99, caution=prior_caution(0.99))
    traffic = Traffic(elapsed_s=5.0, n_arrived=100, n_started=n_started, n_late=n_late)
    learn_caution(memory, traffic, 0.99, is_starved=is_starved)
    return memory.caution - prior_caution(0.99)


def test_late_requests_raise_the_caution_and_punctual_ones_lower_it() -> None:
    assert learned(5) > 0 > learned(0)


def test_it_rests_where_the_late_are_the_share_that_is_aimed_at() -> None:
    per_late, per_punctual = learned(1) - learned(0), learned(0)
    rests_at = -per_punctual / per_late / 100
    assert rests_at == pytest.approx(0.01 * BUDGET_SHARE)


def test_a_starved_fleet_learns_a_quarter_of_a_rise_and_all_of_a_fall() -> None:
    assert learned(5, is_starved=True) == pytest.approx(learned(5) / 4)
    assert learned(0, is_starved=True) == learned(0)


def test_nothing_is_learned_where_nothing_began() -> None:
    assert learned(0, n_started=0) == 0


def stepped(caution: float, n_late: int) -> float:
    """The step at a caution that is learned already, of a group that is seen for a day."""
    memory = ScalingMemory(
        request_rate=20.0, tuned_for=0.99, caution=caution, usage_s=4.0 * GAIN_WINDOW_S
    )
    traffic = Traffic(elapsed_s=5.0, n_arrived=100, n_started=100, n_late=n_late)
    learn_caution(memory, traffic, 0.99, is_starved=False)
    return memory.caution - caution


@pytest.mark.parametrize("n_late", [0, 5])
def test_far_from_the_usual_the_caution_learns_in_proportion(n_late: int) -> None:
    assert stepped(8.0, n_late) == pytest.approx(2.0 * stepped(3.9, n_late))
    assert stepped(3.9, n_late) == pytest.approx(stepped(0.0, n_late))


def test_the_caution_has_an_end() -> None:
    assert stepped(CAUTION_HIGH, 100) == 0.0
    assert stepped(CAUTION_LOW, 0) == 0.0


@pytest.mark.parametrize(
    ("caution", "n_late", "times"),
    [
        (0.0, 2, GAIN_WINDOW_S / YOUNG_WINDOW_S),
        (YOUNG_CAUTION, 2, 1.0),  # a cold start's lateness took strict targets to ten, for days
        (YOUNG_CAUTION, 0, GAIN_WINDOW_S / YOUNG_WINDOW_S),
    ],
)
def test_a_new_group_learns_quickly_but_for_more_than_a_usual_caution(
    caution: float, n_late: int, times: float
) -> None:
    memory = ScalingMemory(request_rate=20.0, tuned_for=0.99, caution=caution, usage_s=60.0)
    traffic = Traffic(elapsed_s=5.0, n_arrived=100, n_started=100, n_late=n_late)
    learn_caution(memory, traffic, 0.99, is_starved=False)
    assert memory.caution - caution == pytest.approx(times * stepped(caution, n_late))


@pytest.mark.parametrize(
    ("service_s", "share"),
    [(0.0, 0.0), (16.0, 0.0), (64.0, 0.0), (80.0, 0.0), (160.0, 0.5), (800.0, 0.9)],
)
def test_a_queue_buffers_the_less_the_longer_a_request_lasts(
    service_s: float, share: float
) -> None:
    assert unbuffered(10.0, service_s) == pytest.approx(share)


@pytest.mark.parametrize(
    ("target", "share", "usage_s", "caution", "becomes"),
    [
        (0.99, 0.5, 0.0, -0.5, 1.35),
        (0.999, 0.5, 0.0, -0.5, 2.025),
        (0.99, 0.5, GAIN_WINDOW_S - 1.0, 0.0, 1.35),
        (0.99, 0.5, GAIN_WINDOW_S, 0.0, 0.0),  # by then it has learned
        (0.99, 0.5, 0.0, 3.0, 3.0),
        (0.99, 0.0, 0.0, -0.5, -0.5),
    ],
)
def test_a_new_group_whose_queue_buffers_nothing_starts_with_safety_stock(
    target: float, share: float, usage_s: float, caution: float, becomes: float
) -> None:
    memory = ScalingMemory(caution=caution, usage_s=usage_s)
    raise_young_caution(memory, target, share)
    assert memory.caution == pytest.approx(becomes)


@pytest.mark.parametrize(
    ("usage_s", "times"), [(YOUNG_WINDOW_S - 1.0, 1.0), (2.0 * YOUNG_WINDOW_S, 3.0)]
)
def test_without_a_buffer_it_rises_as_quickly_beyond_a_usual_caution_once_a_start_is_over(
    usage_s: float, times: float
) -> None:
    """Lateness after the first hour is the traffic's, no cold start's."""
    memory = ScalingMemory(request_rate=20.0, tuned_for=0.99, caution=2.0, usage_s=usage_s)
    traffic = Traffic(elapsed_s=5.0, n_arrived=100, n_started=100, n_late=2)
    learn_caution(memory, traffic, 0.99, is_starved=False, is_buffered=False)
    assert memory.caution - 2.0 == pytest.approx(times * stepped(2.0, 2))


def test_of_a_strict_target_only_what_is_beyond_its_prior_is_taken_for_bursts() -> None:
    times = {"start_s": 20.0, "target_wait_s": 10.0, "service_s": 10.0}
    strict = [knob_for(x, **times, slo_target=0.999).trend for x in (0.0, 0.5, 0.752, 1.0, 5.0)]
    assert strict == pytest.approx([0.0, 0.0, 3.0, 6.0, 6.0], abs=1e-6)
    strictest = [knob_for(x, **times, slo_target=0.99999).trend for x in (0.95, 1.0)]
    assert strictest == pytest.approx([3.0, 6.0])
    relaxed = [knob_for(x, **times, slo_target=0.95).trend for x in (-1.0, 0.0, 0.5, 1.0)]
    assert relaxed == pytest.approx([0.0, 0.0, 3.0, 6.0])


def decided(
    mean_load: float, known: dict[str, object], *, slots: int = 8, target: float = 0.99
) -> ScalingPlan:
    """A round of a group with a busy worker of 100 load per second; a request takes S there."""
    worker = make_worker(1, slots=slots, n_working=8, pending_load=8.0)
    traffic = Traffic(elapsed_s=5.0, n_arrived=100, n_started=100, n_late=2, usual_load=mean_load)
    usage = [1.0 if low < 2.0 else 0.0 for low in LEVELS]
    kept = {"tuned_for": target, "worker_perf": 100.0, "worker_slots": 8.0, "request_rate": 20.0}
    memory = ScalingMemory(**{**kept, "usage": usage, **known})  # type: ignore[arg-type]
    snapshot = make_snapshot(worker, slo_target=target, min_cold_load=1.0, traffic=traffic)
    return decide_scaling(snapshot, memory.to_json(), NOW)


LONG, SHORT = 2000.0, 200.0  # 160 s and 16 s a request
NEW: dict[str, object] = {"usage_s": 60.0}


def test_a_round_sees_how_long_requests_last() -> None:
    assert decided(LONG, NEW).memory["caution"] == pytest.approx(1.35)
    assert decided(LONG, NEW, target=0.999).memory["caution"] == pytest.approx(2.025)
    for plan in (decided(SHORT, NEW), decided(LONG, NEW, slots=0)):
        assert 0.0 < float(str(plan.memory["caution"])) < 0.1  # what two late ones taught
    seen: dict[str, object] = {"usage_s": 2.0 * YOUNG_WINDOW_S, "caution": 2.0}
    taught = [float(str(decided(load, seen).memory["caution"])) - 2.0 for load in (LONG, SHORT)]
    assert taught[1] > 0
    assert taught[0] == pytest.approx(3.0 * taught[1])


def test_a_round_holds_a_pool_for_unseen_peaks_where_requests_last_long() -> None:
    calm: dict[str, object] = {"usage_s": 5.0 * YOUNG_WINDOW_S, "caution": 2.0}
    assert decided(SHORT, calm).total_target == pytest.approx(1.25 * 100.0)
    assert decided(LONG, calm).total_target == pytest.approx(1.15 * 1.45 * 100.0)


def test_a_round_takes_a_climb_for_a_burst_by_its_target() -> None:
    climb: dict[str, object] = {"usage_s": 5.0 * YOUNG_WINDOW_S, "caution": 0.4, "at": NOW - 5.0}
    strict, usual = (decided(SHORT, climb, target=target) for target in (0.999, 0.99))
    assert strict.hot_target < usual.hot_target == pytest.approx(usual.total_target)
