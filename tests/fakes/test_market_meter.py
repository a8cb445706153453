"""The market's bill: an integral, whatever the order and size of the steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.market.market_meter import Meter, Rate

RATES = st.builds(Rate, st.floats(0, 10), st.floats(0, 0.1))
STEPS = st.lists(st.tuples(st.integers(1, 3), RATES, st.floats(0, 10_000)), min_size=1, max_size=20)


@given(STEPS, st.floats(0.5, 100.0))
def test_the_bill_is_the_sum_of_rate_times_time(
    steps: list[tuple[int, Rate, float]], time_scale: float
) -> None:
    meter, now, expected = Meter(time_scale), 0.0, 0.0
    current: dict[int, Rate] = {}
    peak = 0.0
    for instance_id, rate, lasts_s in steps:
        meter.set_rate(instance_id, "x", rate, now)
        current[instance_id] = rate
        owed = sum(r.total for r in current.values())
        peak = max(peak, owed)
        expected += owed * lasts_s * time_scale / 3_600
        now += lasts_s
        assert meter.bill(now).usd_per_hour == pytest.approx(owed)
    bill = meter.bill(now)
    assert bill.total_usd == pytest.approx(expected)
    assert meter.total_usd(now) == pytest.approx(expected)
    assert bill.peak_usd_per_hour == pytest.approx(peak)
    assert bill.by_label["x"] == pytest.approx(expected)
    assert sum(c.total_usd for c in bill.by_instance.values()) == pytest.approx(expected)


@given(RATES, st.lists(st.floats(0, 1_000), max_size=10))
def test_looking_at_the_bill_changes_nothing(rate: Rate, looks: list[float]) -> None:
    watched, unwatched = Meter(), Meter()
    for meter in (watched, unwatched):
        meter.set_rate(1, "x", rate, 0.0)
    for at in sorted(looks):
        watched.bill(at)
    assert watched.bill(1_000).total_usd == pytest.approx(unwatched.bill(1_000).total_usd)


@given(RATES, RATES, st.floats(0, 1e5))
def test_a_dearer_contract_never_costs_less(a: Rate, b: Rate, lasts_s: float) -> None:
    low = Rate(min(a.gpu_usd_per_hour, b.gpu_usd_per_hour), a.storage_usd_per_hour)
    high = Rate(max(a.gpu_usd_per_hour, b.gpu_usd_per_hour), a.storage_usd_per_hour)
    bills = []
    for rate in (low, high):
        meter = Meter()
        meter.set_rate(1, "x", rate, 0.0)
        bills.append(meter.bill(lasts_s).total_usd)
    assert bills[0] <= bills[1]


def test_an_hour_in_its_parts() -> None:
    meter = Meter()
    meter.set_rate(1, "a", Rate(0.0, 0.01), 0.0)
    meter.set_rate(1, "a", Rate(0.60, 0.01), 1_800.0)
    meter.set_rate(1, "a", Rate(), 3_600.0)
    contract = meter.bill(1e6).by_instance[1]
    assert contract.gpu_usd == pytest.approx(0.30)
    assert contract.storage_usd == pytest.approx(0.01)
    assert contract.gpu_s == 1_800.0


def test_market_time_may_change_its_pace() -> None:
    meter = Meter()
    meter.set_rate(1, "a", Rate(1.0), 0.0)
    meter.set_time_scale(60.0, 3_600.0)
    assert meter.bill(3_660.0).total_usd == pytest.approx(1.0 + 1.0)


def test_a_label_carries_all_that_its_contract_cost() -> None:
    """An owner may rename; the bill goes by the name that the contract has now."""
    meter = Meter()
    meter.set_rate(1, "old", Rate(1.0), 0.0)
    meter.set_rate(1, "new", Rate(1.0), 3_600.0)
    assert meter.bill(3_600.0).by_label == {"new": 1.0}
