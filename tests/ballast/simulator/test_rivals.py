"""Rivals on worked numbers, from their sources."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from ballast.simulator.rivals.hpa import HpaKeda
from ballast.simulator.rivals.knative import KnativeKpa
from ballast.simulator.rivals.occupancy_window import OccupancyWindow
from ballast.simulator.rivals.pool import Law, Observation, SlidingMax, pool_size
from ballast.simulator.rivals.ray_serve import RayServe
from ballast.simulator.rivals.runpod import RunPodCount, RunPodDelay
from ballast.simulator.rivals.skyserve import SkyServeRate
from ballast.simulator.rivals.static_fleet import StaticFleet
from ballast.simulator.rivals.vast_like import VastLike

SEEN = Observation(
    now=0.0,
    in_system=0,
    n_waiting=0,
    oldest_wait_s=0.0,
    n_arrived=0,
    n_ready=0,
    n_pending=0,
    slots=8,
    service_s=16.0,
    perfs=(),
)


def play(law: Law, steps: Sequence[Mapping[str, object]], every_s: float = 5.0) -> list[int]:
    return [
        law.wanted(replace(SEEN, now=i * every_s, **step))  # type: ignore[arg-type]
        for i, step in enumerate(steps)
    ]


def test_occupancy_window_divides_by_slots_and_u_and_holds() -> None:
    law = OccupancyWindow(1.25, 10.0)
    steps = [{"in_system": n} for n in (40, 81, 10, 10, 10, 10)]
    assert play(law, steps) == [4, 9, 9, 9, 1, 1]  # 40 / 10 = 4; 81 / 10 -> 9; held for 10 s


def test_knative_takes_the_stable_mean_and_panics_on_a_doubling() -> None:
    law = KnativeKpa()  # target 0.7 * 8 = 5.6 per machine
    assert play(law, [{"in_system": 28, "n_ready": 5}]) == [5]
    calm = [{"in_system": 28, "n_ready": 5}] * 12
    burst = [{"in_system": 112, "n_ready": 5}] * 2
    wanted = play(KnativeKpa(), [*calm, *burst])
    assert wanted[-1] == 20  # the panic window's mean of 112 over 5.6, not the minute's mean
    after = play(KnativeKpa(), [*calm, *burst, *[{"in_system": 0, "n_ready": 20}] * 3])
    assert after[-1] == 20  # panic never scales down


def test_hpa_keeps_within_tolerance_and_holds_its_maximum_for_the_window() -> None:
    law = HpaKeda(1.0, 60.0)
    steps = [{"in_system": 8}, {"in_system": 24}, {"in_system": 25}, {"in_system": 26}]
    assert play(law, steps, 15.0) == [1, 3, 3, 3]  # 24 / 8 = 3; 25 and 26 are within 10 %
    assert play(HpaKeda(1.0, 60.0), [{"in_system": 8}, *[{"in_system": 800}] * 2], 15.0) == [
        1, 5, 10,
    ]  # at most +4 or double per 15 s  # fmt: skip


def test_ray_serve_waits_30_s_before_it_adds() -> None:
    law = RayServe(0.5)  # 4 per machine
    wanted = play(law, [{"in_system": 16}] * 9)
    assert wanted[:6] == [1] * 6
    assert wanted[-1] == 4


def test_skyserve_counts_requests_of_a_minute_and_waits_for_its_delay() -> None:
    law = SkyServeRate(40.0, 120.0)
    wanted = play(law, [{"n_arrived": 10}] * 40)  # 2 a second x 16 s / 8 slots = 4
    assert wanted[0] == 1
    assert wanted[-1] == 4


def test_skyserve_instance_aware_keeps_the_shortest_prefix_of_the_fastest() -> None:
    law = SkyServeRate(0.0, 0.0, is_instance_aware=True)
    perfs = (1.0, 3.0, 1.0, 1.0)
    wanted = play(law, [{"n_arrived": 10, "perfs": perfs}] * 40)
    assert wanted[-1] == 2  # 2 requests a second need 4 perf: the one of 3 and one of 1


@pytest.mark.parametrize(("oldest", "expected"), [(3.9, 2), (4.1, 3)])
def test_runpod_adds_one_when_the_delay_passes_4_s(oldest: float, expected: int) -> None:
    law = RunPodDelay()
    steps = [
        {"in_system": 16, "n_ready": 1, "oldest_wait_s": 5.0},
        {"in_system": 16, "n_ready": 2, "oldest_wait_s": oldest},
    ]
    assert play(law, steps)[-1] == expected


def test_runpod_counts_requests_over_its_value() -> None:
    assert play(RunPodCount(), [{"in_system": 17}]) == [5]  # 17 / 4 -> 5


def test_vast_like_divides_the_smoothed_load_by_target_util() -> None:
    wanted = play(VastLike(), [{"n_arrived": 20}] * 100)
    assert wanted[-1] == 9  # 4 a second x 2 s / 0.9 = 8.9


def test_static_is_static_and_the_pool_holds_its_margin() -> None:
    assert play(StaticFleet(7), [{}, {"in_system": 999}]) == [7, 7]
    assert pool_size(8, 20.0) == 23
    assert pool_size(20, 20.0) == 25


def test_sliding_max_forgets_what_left_its_window() -> None:
    window = SlidingMax(10.0)
    values = [5.0, 1.0, 2.0, 0.0, 0.0]
    seen = [window.add(5.0 * i, value) for i, value in enumerate(values)]
    assert seen == [5.0, 5.0, 5.0, 2.0, 2.0]
    assert not math.isnan(seen[-1])
