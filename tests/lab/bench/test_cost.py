"""The cost figures follow from the price table, and docs/cost.md shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.bench.cost import (
    FLEETS,
    Assumptions,
    fixed_month,
    idle_month,
    load_prices,
    marginal,
    per_million_requests,
    view_kb,
)

DOCS = Path(__file__).parents[3] / "docs"


def test_a_local_signature_costs_less_than_a_kms_call_by_the_price_of_the_call() -> None:
    prices, a = load_prices(), Assumptions(route_ms_wrapped=5, route_ms_kms=5)
    usd = per_million_requests(prices, a)
    assert usd["kms"]["HTTP API"] - usd["wrapped"]["HTTP API"] == pytest.approx(3.0)


def test_an_idle_month_costs_at_most_four_dollars_and_a_half() -> None:
    assert sum(idle_month(load_prices(), Assumptions()).values()) <= 4.5


def test_a_million_routed_requests_cost_at_most_two_dollars_and_twenty_cents() -> None:
    """By the default entry, with attempts as measured and every item of the bill."""
    usd = per_million_requests(load_prices(), Assumptions())
    assert usd["wrapped"]["HTTP API"] <= 2.2


def test_a_view_is_as_large_as_it_is_packed() -> None:
    assert 5 < view_kb(100) / view_kb(10) < 12


def test_the_documented_figures_are_the_computed_ones() -> None:
    text = (DOCS / "cost.md").read_text()
    prices, a = load_prices(), Assumptions()
    for row in per_million_requests(prices, a).values():
        for usd in row.values():
            assert f"${usd:.2f}" in text
    assert f"**{sum(idle_month(prices, a).values()):.2f}**" in text
    for name, usd in marginal(prices, a).items():
        assert f"| {name} | {usd:.2f} |" in text
    for n in FLEETS:
        assert f"**{sum(fixed_month(prices, a, n).values()):.2f}**" in text
