"""The cost figures follow from the price table, and docs/cost.md shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.bench.cost import Assumptions, idle_month, load_prices, per_million_requests

DOCS = Path(__file__).parents[3] / "docs"


def test_a_local_signature_costs_less_than_a_kms_call_by_the_price_of_the_call() -> None:
    prices, a = load_prices(), Assumptions(route_ms_wrapped=5, route_ms_kms=5)
    usd = per_million_requests(prices, a)
    assert usd["kms"]["HTTP API"] - usd["wrapped"]["HTTP API"] == pytest.approx(3.0)


def test_ten_idle_groups_cost_at_most_five_dollars_a_month() -> None:
    assert sum(idle_month(load_prices(), Assumptions()).values()) <= 5.0


def test_the_documented_figures_are_the_computed_ones() -> None:
    text = (DOCS / "cost.md").read_text()
    prices, a = load_prices(), Assumptions()
    for row in per_million_requests(prices, a).values():
        for usd in row.values():
            assert f"${usd:.2f}" in text
    assert f"**{sum(idle_month(prices, a).values()):.2f}**" in text
