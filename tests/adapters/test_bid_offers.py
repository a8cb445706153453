"""Least bids as no market should show them: none is bid for."""

from __future__ import annotations

import pytest

from chalicelib.adapters.vast.rows import RowError, parse_offer
from chalicelib.core.scaling.moves.interruptible import candidates_of
from tests.core.bid_scenes import NOW, on_demand
from tests.core.test_interruptible import known_memory, scene
from tests.evidence.vast_records import load_records

ROW = next(r.body["offers"][0] for r in load_records() if r.id == "bid-search-answer")


@pytest.mark.parametrize("min_bid", [None, 0, -1, "?", 1e9, float("nan"), float("inf"), True])
def test_an_offer_whose_least_bid_is_none_is_not_bid_for(min_bid: object) -> None:
    try:
        offers = [parse_offer({**ROW, "min_bid": min_bid}, 40.0, NOW, is_bid=True)]
    except RowError:
        return
    pool, ctx = scene([on_demand(n) for n in range(1, 7)], offers, known_memory())
    assert candidates_of(pool, ctx) == []


def test_the_recorded_offer_is() -> None:
    offer = parse_offer(ROW, 40.0, NOW, is_bid=True)
    pool, ctx = scene([on_demand(n) for n in range(1, 7)], [offer], known_memory())
    assert candidates_of(pool, ctx)


@pytest.mark.parametrize("price", [None, 0, -1, "0.3", True, float("nan")])
def test_nor_one_whose_price_on_demand_is_not_told(price: object) -> None:
    """Nobody could say that the bid is below it."""
    with pytest.raises(RowError, match="dph_total"):
        parse_offer({**ROW, "dph_total": price}, 40.0, NOW, is_bid=True)


@pytest.mark.parametrize(("above", "is_bid_for"), [(0.5, True), (1.0, False), (1.5, False)])
def test_nor_one_whose_least_bid_is_above_its_price_on_demand(
    above: float, is_bid_for: bool
) -> None:
    price = float(str(ROW["dph_total"]))
    offer = parse_offer({**ROW, "min_bid": above * price}, 40.0, NOW, is_bid=True)
    pool, ctx = scene([on_demand(n) for n in range(1, 7)], [offer], known_memory())
    assert bool(candidates_of(pool, ctx)) is is_bid_for


@pytest.mark.parametrize("num_gpus", [1, 2, 8])
def test_a_bid_is_for_the_whole_machine_however_many_gpus(num_gpus: int) -> None:
    offer = parse_offer({**ROW, "num_gpus": num_gpus}, 40.0, NOW, is_bid=True)
    assert offer.bid_usd_per_hour == ROW["min_bid"]
    assert offer.usd_per_hour == offer.bid_usd_per_hour + offer.storage_usd_per_hour
    pool, ctx = scene([on_demand(n) for n in range(1, 7)], [offer], known_memory())
    for candidate in candidates_of(pool, ctx):
        bid = candidate.item.offer.bid_usd_per_hour
        assert bid == ROW["min_bid"] * candidate.item.offer.bid_margin
