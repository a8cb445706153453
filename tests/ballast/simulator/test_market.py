"""The simulated market: the same offers for every policy, and prices that move."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ballast.simulator.policies import make_policy
from ballast.simulator.run import Setting, run_policy
from ballast.simulator.world.market import DEFAULT_MARKET, Market, MarketConfig, read_market
from ballast.simulator.world.traces import synthesise

HOUR_S = 3600.0


def shown(market: Market, now: float) -> list[tuple[str, float]]:
    return [(offer.gpu_name, offer.usd_per_hour) for offer in market.offers(now)]


def test_a_rental_changes_one_offer_and_that_only_until_the_market_moves_on() -> None:
    looked, rented = (Market(read_market(), seed=3) for _ in range(2))
    first = rented.offers(0.0)[0]
    assert rented.take(first.offer_id, 0.0) is not None
    assert rented.take(first.offer_id, 0.0) is None
    assert shown(rented, 0.0)[0] != shown(looked, 0.0)[0]
    assert shown(rented, 0.0)[1:] == shown(looked, 0.0)[1:]
    assert shown(rented, 24 * HOUR_S) == shown(looked, 24 * HOUR_S)


def test_a_machine_meets_the_same_fate_whoever_rents_it() -> None:
    fates = []
    for n_before in (0, 2):
        market = Market(read_market(), seed=3)
        for other in market.offers(0.0)[1 : 1 + n_before]:
            market.take(other.offer_id, 0.0)
        taken = market.take(market.offers(0.0)[0].offer_id, 0.0)
        assert taken is not None
        fates.append((taken.perf, taken.chances.random()))
    assert fates[0] == fates[1]


def test_offers_last_an_hour_in_the_mean() -> None:
    market, n_changes = Market(MarketConfig(types=read_market().types), seed=1), 0
    before = shown(market, 0.0)
    for minute in range(60 * 200):
        now = shown(market, minute * 60.0)
        n_changes += sum(a != b for a, b in zip(before, now, strict=False))
        before = now
    assert 0.9 < n_changes / (200 * len(before)) < 1.1


def test_prices_of_rented_machines_move_where_the_market_says_so() -> None:
    trace = synthesise("steady", days=0.1, seed=1).scaled(2.0)
    still, moving = read_market(), read_market(price_move_interval_h=0.2, price_move_sigma=0.3)
    usd = [
        run_policy(trace, make_policy("static:4"), Setting(market=market)).usd
        for market in (still, moving)
    ]
    assert usd[0] != usd[1]


LINES = DEFAULT_MARKET.with_name("lines.toml")


def test_loads_follow_the_line_of_an_offers_host_for_whoever_rents_it() -> None:
    config = replace(read_market(LINES), load_sigma=0.0)
    seen = {offer.inet_down_mbps for offer in Market(config, seed=1).offers(0.0)}
    assert seen <= set(config.line_mbps)
    offer = Market(config, seed=1).offers(0.0)[0]
    slow, typical, fast = (
        config.load_s(replace(offer, inet_down_mbps=mbps), random.Random(1))
        for mbps in (846.3, 1780.2, 9876.5)
    )
    assert typical == config.load_median_s
    assert slow - typical == pytest.approx(160_000 / 846.3 - 160_000 / 1780.2)
    assert fast < typical
    assert config.load_s(offer, random.Random(1), 2.0) == 2 * config.load_s(offer, random.Random(1))
    assert read_market().load_s(offer, random.Random(1)) == read_market().load_s(
        replace(offer, inet_down_mbps=1.0), random.Random(1)
    )


def test_a_host_has_one_line_and_one_pace_for_whoever_rents_from_it() -> None:
    known: dict[int, set[tuple[float, float]]] = {}
    for n_before in (0, 40):
        market = Market(read_market(LINES), seed=1)
        for _ in range(n_before):
            market.take(market.offers(0.0)[1].offer_id, 0.0)
        for _ in range(100):
            taken = market.take(market.offers(0.0)[0].offer_id, 0.0)
            assert taken is not None
            line = (taken.offer.inet_down_mbps, taken.pace)
            known.setdefault(taken.offer.host_id, set()).add(line)
    assert len(known) == 24
    assert all(len(lines) == 1 for lines in known.values())
    paces = [pace for lines in known.values() for _, pace in lines]
    assert min(paces) < 0.8
    assert max(paces) > 1.25


def test_from_the_start_every_request_counts_and_from_the_first_ready_worker_again() -> None:
    trace = synthesise("chat", days=1 / 48, seed=0).scaled(2.0)
    scores = [
        run_policy(
            trace,
            make_policy("window:1,120"),
            Setting(market=read_market(), is_from_start=is_from_start),
        )
        for is_from_start in (True, False)
    ]
    started, warm = scores
    assert started.requests > warm.requests
    assert 60 < started.first_ready_s < 900
    assert started.within_slo < started.within_slo_ready
    assert started.first_ready_s == warm.first_ready_s
