"""The cost figures follow from the price table, and docs/cost.md shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.bench.cost import (
    Assumptions,
    alarms,
    idle_month,
    load_prices,
    main,
    per_million_requests,
    view_kb,
)
from tests.infra.alarms import alarms_of

DOCS = Path(__file__).parents[3] / "docs"
WITHOUT_EDGE = {"ApiErrors", "HotErrors", "ReportsErrors", "RestFlood"}


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


def test_each_alarm_is_listed_and_billed_by_its_metrics() -> None:
    known = {name: one for name, one in alarms_of("dev").items() if name not in WITHOUT_EDGE}
    assert alarms() == {
        name: sum("MetricStat" in row for row in one.get("Metrics", ())) or 1
        for name, one in known.items()
    }
    assert all(name in (DOCS / "cost.md").read_text() for name in known)


def test_the_page_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """To write it anew: `python -m lab.bench cost > docs/cost.md`."""
    main([])
    assert capsys.readouterr().out == (DOCS / "cost.md").read_text()
    main(["--route-ms-wrapped", "15"])
    assert capsys.readouterr().out != (DOCS / "cost.md").read_text()
