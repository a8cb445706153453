"""The demo's trace, and the day that it simulates beside fixed fleets."""

from __future__ import annotations

import random

import pytest

from lab.local.demo.demo_day import (
    HOUR_S,
    MEAN_FLEET,
    TIMES_THE_REQUESTS,
    read_day,
    simulate_day,
    trace_of,
)
from lab.local.demo.demo_replay import Tally
from lab.local.demo.demo_samples import Sample
from lab.local.demo.demo_summary import outcome_of
from lab.local.demo.demo_trace import SLICE_S, TraceRequest, read_trace


def test_the_slice_is_a_calm_a_peak_and_a_calm_of_ordered_requests() -> None:
    requests = read_trace()
    assert 900 < len(requests) < 1100
    assert requests[0].at_s > SLICE_S / 4
    assert requests[-1].at_s < SLICE_S * 3 / 4
    assert [r.at_s for r in requests] == sorted(r.at_s for r in requests)
    assert all(request.load >= 1 for request in requests)


def test_twice_as_fast_and_every_second_request_keeps_the_rate() -> None:
    whole, thinned = read_trace(), read_trace(speed=2.0, keep_every=2)
    assert len(thinned) == (len(whole) + 1) // 2
    assert thinned[10].at_s == whole[20].at_s / 2


def test_the_trace_may_be_cut_short() -> None:
    assert 0 < len(read_trace(seconds=120.0)) < len(read_trace())
    assert all(request.at_s < 120.0 for request in read_trace(seconds=120.0))


def sample(at_s: float, n_ready: int, total_usd: float) -> Sample:
    """A look at a fleet of workers of 100 tokens/s at $0.50 an hour."""
    return Sample(
        at_s=at_s,
        n_by_status={"idle": n_ready},
        load=0.0,
        ready_capacity=100.0 * n_ready,
        cold_capacity=0.0,
        n_waiting=0,
        n_ready=n_ready,
        n_gpus=n_ready,
        usd_per_hour=0.5 * n_ready,
        total_usd=total_usd,
    )


def test_the_summary_counts_in_the_markets_hours() -> None:
    """Two minutes at 30 times the speed are one hour of the market's."""
    samples = [sample(10.0, 1, 1.0), sample(70.0, 2, 1.4), sample(130.0, 3, 2.0)]
    tally = Tally(n_sent=2, n_answered=2, waits_s=[0.1, 12.0])
    outcome = outcome_of(tally, samples, [TraceRequest(0.0, 10)] * 2, time_scale=30.0)
    assert outcome.gpu_hours == 2.0
    assert outcome.on_time_share == 0.5
    assert outcome.usd == 1.0


def test_the_day_is_as_long_and_as_busy_as_the_services_own() -> None:
    hours = read_day()
    assert (len(hours), max(hours)) == (24, 338)
    trace = trace_of(hours, read_trace(), random.Random("a day"))
    assert len(trace.times) == sum(hours) * TIMES_THE_REQUESTS
    assert trace.times == sorted(trace.times)
    assert sum(trace.loads) / trace.duration_s == pytest.approx(MEAN_FLEET)
    in_hour = sum(11 * HOUR_S <= at < 12 * HOUR_S for at in trace.times)
    assert in_hour == hours[11] * TIMES_THE_REQUESTS


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_the_days_figure_holds_for_other_draws_of_requests_and_machines(seed: int) -> None:
    day = simulate_day(seed)
    assert day.ours.within_slo > 0.97
    assert day.fixed.within_slo >= day.ours.within_slo
    assert day.saved_share > 0.4
