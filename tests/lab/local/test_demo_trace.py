"""The demo's trace and its yardstick, the smallest fixed fleet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.local.demo.demo_replay import Tally
from lab.local.demo.demo_samples import Rented, Sample
from lab.local.demo.demo_summary import FixedFleet, cheapest_fixed_fleet, outcome_of
from lab.local.demo.demo_trace import (
    SLICE_S,
    FleetWorker,
    TraceRequest,
    fixed_fleet_waits,
    percentile,
    read_trace,
    smallest_fixed_fleet,
)

WORKER = FleetWorker(perf=100.0, n_slots=2)  # 50 tokens/s a slot


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


def test_requests_wait_for_a_free_slot_in_their_order() -> None:
    """Three requests of one second each on two slots: the third waits for the first to end."""
    requests = [TraceRequest(0.0, 50), TraceRequest(0.5, 50), TraceRequest(0.6, 50)]
    assert fixed_fleet_waits(requests, WORKER, 1) == [0.0, 0.0, 0.4]


arrivals = st.lists(
    st.builds(TraceRequest, st.floats(0, 60), st.integers(1, 500)), min_size=1, max_size=60
).map(lambda requests: sorted(requests, key=lambda request: request.at_s))


@given(arrivals, st.integers(1, 6))
def test_a_larger_fleet_never_makes_anybody_wait_longer(
    requests: list[TraceRequest], n_workers: int
) -> None:
    smaller = fixed_fleet_waits(requests, WORKER, n_workers)
    larger = fixed_fleet_waits(requests, WORKER, n_workers + 1)
    assert all(b <= a + 1e-9 for a, b in zip(smaller, larger, strict=True))


@given(arrivals, st.floats(0.1, 20))
def test_the_smallest_fixed_fleet_keeps_the_waits_and_one_less_does_not(
    requests: list[TraceRequest], p95_s: float
) -> None:
    n_workers = smallest_fixed_fleet(requests, WORKER, p95_s)
    assert percentile(fixed_fleet_waits(requests, WORKER, n_workers), 0.95) <= p95_s
    if n_workers > 1:
        fewer = fixed_fleet_waits(requests, WORKER, n_workers - 1)
        assert percentile(fewer, 0.95) > p95_s


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
    rented = [Rented(gpu_type="1x A", perf=100.0, usd_per_hour=0.5)]
    outcome = outcome_of(tally, samples, rented, [TraceRequest(0.0, 10)] * 2, time_scale=30.0)
    assert outcome.gpu_hours == 2.0
    assert outcome.on_time_share == 0.5
    assert outcome.usd == 1.0
    assert outcome.fixed == FixedFleet(n_workers=1, gpu_type="1x A", usd=0.5)
    assert outcome.saved_share == -1.0


def test_the_yardstick_is_the_cheapest_kind_that_we_rented_ourselves() -> None:
    """One fast machine at $3 against three slow ones at $0.5, for ten requests at once."""
    requests = [TraceRequest(0.0, 50)] * 30
    kinds = [
        Rented(gpu_type="1x fast", perf=1000.0, usd_per_hour=3.0),
        Rented(gpu_type="1x slow", perf=400.0, usd_per_hour=0.5),
    ]
    fleet = cheapest_fixed_fleet(requests, kinds, p95_s=1.0, hours=2.0)
    assert (fleet.gpu_type, fleet.usd) == ("1x slow", fleet.n_workers * 1.0)
    assert fleet.usd < 2 * 3.0
