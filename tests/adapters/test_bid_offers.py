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
