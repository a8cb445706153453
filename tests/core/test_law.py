"""Headroom for strict targets: as much as demand usually rises before a start could help."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from chalicelib.core.scaling.law import (
    RISE_WINDOW_S,
    YOUNG_WINDOW_S,
    Knob,
    Targets,
    knob_for,
    set_targets,
)
from chalicelib.core.scaling.memory import LEVELS, USAGE_WINDOW_S, ScalingMemory, mean_wanted
from chalicelib.core.scaling.occupancy import Demand
from tests.core.test_scaling import NOW, make_snapshot

ROUND_S = 5.0
CALM = [100.0] * 720
RESTLESS = [100.0, 100.0, 100.0, 140.0, 100.0, 60.0] * 120  # the same mean
ONE = Demand(occupancy=100.0, serving=100.0, load_rate=100.0, has_work=True)
KNOB = Knob(utilisation=1.0, hold_s=30.0, smooth_s=10.0, rise_s=10.0, headroom=2.0)


def play(
    occupancies: Sequence[float], knob: Knob = KNOB, *, usage_s: float = YOUNG_WINDOW_S
) -> tuple[ScalingMemory, Targets]:
    """The memory and the last targets after these rounds of a group that has been seen so long."""
    memory, snapshot = ScalingMemory(usage_s=usage_s), make_snapshot()
    targets = None
    for number, occupancy in enumerate(occupancies):
        now = NOW + number * ROUND_S
        demand = Demand(occupancy=occupancy, serving=occupancy, load_rate=occupancy, has_work=True)
        targets = set_targets(snapshot, memory, demand, knob, now)
        memory.at = now
    assert targets is not None
    return memory, targets


def test_a_demand_that_never_rises_needs_no_headroom() -> None:
    assert play(CALM)[1].hot == pytest.approx(100.0)


def test_a_restless_demand_of_the_same_mean_gets_headroom_in_proportion_to_the_caution() -> None:
    steady = [*RESTLESS, *[100.0] * 20]  # what the peak holds is over, the rises are remembered
    memory, targets = play(steady)
    usual_rise = math.sqrt(2.0 * memory.square_rise)
    assert 10.0 < usual_rise < 40.0
    assert targets.hot == pytest.approx(100.0 + 2.0 * usual_rise, rel=0.02)
    assert play(steady, replace(KNOB, headroom=0.0))[1].hot == pytest.approx(100.0, rel=0.02)


def test_one_rise_by_hand() -> None:
    memory, _ = play([100.0, 180.0])
    mean = 180.0 - 80.0 * math.exp(-ROUND_S / 10.0)
    kept = 1.0 - math.exp(-ROUND_S / RISE_WINDOW_S)
    assert memory.mean_occupancy == pytest.approx(mean)
    assert memory.square_rise == pytest.approx(kept * (180.0 - mean) ** 2)


def test_a_fall_is_no_rise() -> None:
    assert play([100.0, 20.0, 20.0])[0].square_rise == 0.0


def test_nothing_is_held_for_rises_while_there_is_no_demand() -> None:
    assert play([*RESTLESS, *[0.0] * 60])[1].hot == pytest.approx(0.0, abs=0.1)


def test_a_strict_target_remembers_the_pools_peak_for_an_hour_more() -> None:
    peak_then_calm = [1000.0, *[100.0] * int(4.5 * 3600 / ROUND_S)]
    times = {"start_s": 1.0, "target_wait_s": 10.0, "service_s": 10.0}
    relaxed = play(peak_then_calm, knob_for(0.0, **times))[1].total
    strict = play(peak_then_calm, knob_for(1.0, **times))[1].total
    assert relaxed == pytest.approx(125.0)
    assert strict == pytest.approx(1150.0)


def test_a_burst_is_met_as_it_will_be_when_what_is_started_is_up() -> None:
    cautious = replace(KNOB, headroom=0.0, trend=6.0)
    burst = [1_000.0, *[100.0] * 200, 180.0]  # the pool remembers the first
    memory, targets = play(burst, cautious)
    now = 80.0 * math.exp(-ROUND_S / 10.0)
    usual = math.sqrt(2.0 * memory.square_rise)
    assert now > 10.0 * usual
    assert targets.hot == pytest.approx(180.0 + 6.0 * (now - usual))
    over = play([*burst, *[180.0] * 30], cautious)[1]  # as soon as the climb is over, no more
    assert over.hot == pytest.approx(180.0, rel=1e-4)
    assert targets.total == over.total == pytest.approx(1_150.0)


def test_a_burst_starts_what_the_pool_has_and_rents_nothing() -> None:
    """What is rented for a climb comes minutes after it: 185 an hour instead of 40 (azure_code)."""
    burst = [*[100.0] * 200, 180.0]
    plain = play(burst, replace(KNOB, headroom=0.0))[1]
    cautious = play(burst, replace(KNOB, headroom=0.0, trend=6.0))[1]
    assert (cautious.total, cautious.to_rent) == (plain.total, plain.to_rent)
    assert cautious.hot == cautious.total == pytest.approx(1.25 * 180.0)


def test_a_new_groups_pool_still_loads_and_helps_no_burst() -> None:
    """In a first hour of azure_code it cost 6 % and gained nothing (benchmark.md 2)."""
    cautious = replace(KNOB, headroom=0.0, trend=6.0)
    burst = [1_000.0, *[100.0] * 200, 180.0]
    new = play(burst, cautious, usage_s=YOUNG_WINDOW_S - 1.0)[1]
    assert new == play(burst, replace(cautious, trend=0.0))[1]
    assert new.hot < play(burst, cautious)[1].hot


def test_a_climb_as_usual_is_no_burst() -> None:
    """A tenth of the climbs of even traffic would be met six times over, at every round."""
    memory = ScalingMemory(
        at=NOW - ROUND_S, mean_occupancy=100.0, square_rise=200.0, usage_s=YOUNG_WINDOW_S
    )
    demand = Demand(occupancy=130.0, serving=130.0, load_rate=130.0, has_work=True)
    knob = replace(KNOB, headroom=0.0, trend=6.0)
    snapshot = make_snapshot(min_cold_load=1_000.0)
    assert set_targets(snapshot, memory, demand, knob, NOW).hot == 130.0


def test_one_request_more_is_no_burst() -> None:
    memory = ScalingMemory(
        at=NOW - ROUND_S,
        worker_perf=80.0,
        worker_slots=8.0,
        mean_occupancy=100.0,
        usage_s=YOUNG_WINDOW_S,
    )
    knob = replace(KNOB, headroom=0.0, trend=6.0)
    for climb in (10.0, 16.0, 26.0):
        seen, demand = replace(memory), replace(ONE, occupancy=100.0 + climb)
        hot = set_targets(make_snapshot(min_cold_load=1_000.0), seen, demand, knob, NOW).hot
        more = climb * math.exp(-0.5) - 10.0 - math.sqrt(2.0 * seen.square_rise)
        assert hot == pytest.approx(100.0 + climb + 6.0 * max(more, 0.0))
        assert (more > 0) is (climb > 17.0)


def test_only_a_cautious_group_takes_a_climb_to_go_on() -> None:
    times = {"start_s": 20.0, "target_wait_s": 10.0, "service_s": 10.0}
    assert [knob_for(x, **times).trend for x in (-2.0, 0.0, 0.5, 1.0, 12.0)] == [0, 0, 3, 6, 6]


def day_of(level: float, usage_s: float) -> ScalingMemory:
    """A group that wanted so many machines of 10 load per second all the time it was seen."""
    usage = [1.0 if low < level else 0.0 for low in LEVELS]
    return ScalingMemory(
        at=NOW - ROUND_S, worker_perf=10.0, worker_slots=1.0, usage=usage, usage_s=usage_s
    )


def test_the_mean_of_a_day_is_read_from_what_was_wanted() -> None:
    assert mean_wanted(ScalingMemory()) == 0.0
    assert mean_wanted(day_of(8.0, 60.0)) == pytest.approx(80.0, rel=0.15)


@pytest.mark.parametrize(
    ("level", "usage_s", "total"),
    [
        (100.0, 60.0, 1.15 * 1.5 * 100.0),  # a first day's pool is for peaks to come
        (100.0, USAGE_WINDOW_S - 1.0, 1.15 * 1.5 * 100.0),
        (100.0, USAGE_WINDOW_S, 1.25 * 100.0),  # a whole day's are known
        (1.0, USAGE_WINDOW_S - 1.0, 1.25 * 100.0),  # a burst far beyond the mean of the day
        (2.5, USAGE_WINDOW_S / 4.0, 1.15 * 1.5 * 100.0),  # a part of a day says less of its mean
    ],
)
def test_a_first_days_pool_is_for_more_than_was_seen(
    level: float, usage_s: float, total: float
) -> None:
    memory = day_of(level, usage_s)
    knob = replace(KNOB, headroom=0.0, unseen=1.5, smooth_s=0.0)
    demand = Demand(occupancy=100.0, serving=100.0, load_rate=100.0, has_work=True)
    assert set_targets(make_snapshot(), memory, demand, knob, NOW).total == pytest.approx(total)


def test_a_quarter_of_a_day_bounds_its_peak_by_twice_as_much_of_its_mean() -> None:
    memory = day_of(1.4, USAGE_WINDOW_S / 4.0)
    knob = replace(KNOB, headroom=0.0, unseen=1.5, smooth_s=0.0)
    demand = Demand(occupancy=100.0, serving=100.0, load_rate=100.0, has_work=True)
    bound = 1.15 * 4.5 * 2.0 * mean_wanted(memory)
    assert 1.25 * 100.0 < bound < 1.15 * 150.0
    assert set_targets(make_snapshot(), memory, demand, knob, NOW).total == pytest.approx(bound)


def test_the_margin_for_unseen_peaks_grows_with_the_caution_where_nothing_buffers() -> None:
    times = {"start_s": 20.0, "target_wait_s": 10.0, "service_s": 160.0}
    grown = [knob_for(x, **times, unbuffered_share=0.5).unseen for x in (-1.0, 0.0, 0.5, 1.0, 9.0)]
    assert grown == pytest.approx([1.0, 1.0, 1.225, 1.45, 1.45])
    assert knob_for(9.0, **times).unseen == 1.0
