"""Which offer is rented: price, speed, odds, and how soon it would be ready."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.scaling.learning import LOAD_PRIOR_S, Beliefs
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.offers import download_gb, predicted_load_s, rate_offers
from chalicelib.core.scaling.moves.pools import Round
from chalicelib.core.scaling.snapshot import Waiting
from tests.core.test_scaling import NOW, make_offer, make_snapshot, make_worker

GROUP = Autogroup(autogroup_id=1, endpoint_id=1, created_at=0.0)
SLOW = make_offer(1, 0.50, inet_down_mbps=200.0)
FAST = make_offer(2, 0.55, inet_down_mbps=2_000.0)


def best(*, n_waiting: int, starved: float) -> int:
    """The offer that comes first."""
    snapshot = make_snapshot(offers={1: (SLOW, FAST)}, waiting=Waiting(n=n_waiting, load=100.0))
    ctx = Round(snapshot, Beliefs(ScalingMemory(starved=starved)), NOW)
    return rate_offers(GROUP, ctx)[0].offer.offer_id


@pytest.mark.parametrize(("mbps", "seconds"), [(200.0, 940.0), (2_000.0, 220.0), (0.0, 300.0)])
def test_a_first_load_takes_as_long_as_the_line_needs(mbps: float, seconds: float) -> None:
    """20 GB take 800 s at 200 Mbit/s, 80 s at 2,000."""
    assert predicted_load_s(make_offer(1, inet_down_mbps=mbps), LOAD_PRIOR_S) == seconds


def test_no_line_makes_a_load_shorter_than_what_is_no_download() -> None:
    assert predicted_load_s(make_offer(1, inet_down_mbps=1e6), 100.0) == 30.0


def test_while_clients_wait_and_nothing_can_be_started_the_fast_line_wins() -> None:
    assert best(n_waiting=3, starved=1.0) == FAST.offer_id


@pytest.mark.parametrize(("n_waiting", "starved"), [(0, 1.0), (3, 0.0)])
def test_for_the_pool_a_slow_line_costs_what_it_costs(n_waiting: int, starved: float) -> None:
    assert best(n_waiting=n_waiting, starved=starved) == SLOW.offer_id


@pytest.mark.parametrize(
    ("on_disks", "size_gb"), [((), 20.0), ((0.0,), 20.0), ((60.0, 1e9, 64.0), 64.0), ((1e9,), 1e3)]
)
def test_what_a_load_fetches_is_learned_from_the_disks_of_earlier_ones(
    on_disks: tuple[float, ...], size_gb: float
) -> None:
    workers = tuple(
        replace(make_worker(i), autogroup_id=1, disk_usage_gb=gb)
        for i, gb in enumerate(on_disks, start=1)
    )
    ctx = Round(make_snapshot(workers=workers), Beliefs(ScalingMemory()), NOW)
    assert download_gb(1, ctx) == size_gb


def test_the_larger_the_download_the_more_a_slow_line_costs() -> None:
    small, large = (predicted_load_s(SLOW, LOAD_PRIOR_S, gb) for gb in (5.0, 60.0))
    assert (small, large) == (460.0, 2_220.0)
