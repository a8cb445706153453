"""Prices, sizes, moments from outside, and stored moments, mean something or nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.fleet.observation import observe
from chalicelib.core.fleet.pacing import LONGEST_WAIT_S, Pacing, Verb
from chalicelib.core.model.market import (
    OFFER_BOUNDS,
    InstanceRecord,
    Offer,
    out_of_bounds,
    plausible_record,
)
from chalicelib.core.money.account import Account, booked_since
from chalicelib.core.money.bookkeeping import cost_of
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
HUGE = 1e12


def offer(**values: object) -> Offer:
    facts: dict[str, object] = {
        "offer_id": 1,
        "machine_id": 2,
        "host_id": 3,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "gpu_ram_gb": 24.0,
        "usd_per_hour": 0.4,
        "storage_usd_per_hour": 0.01,
        "dlperf": 100.0,
    }
    return Offer(**{**facts, **values})  # type: ignore[arg-type]


def record(**values: object) -> InstanceRecord:
    facts: dict[str, object] = {
        "instance_id": 1,
        "label": "",
        "actual_status": "running",
        "intended_status": "running",
        "cur_state": "running",
    }
    return InstanceRecord(**{**facts, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", OFFER_BOUNDS)
def test_an_offer_outside_is_unusable_by_name(name: str) -> None:
    least, most = OFFER_BOUNDS[name]
    for wrong in (least - 1.0, most * 2.0, float("nan"), float("inf")):
        assert out_of_bounds(offer(**{name: wrong}), NOW) == name
    for right in (least, most):
        assert out_of_bounds(offer(**{name: right}), NOW) == ""


@pytest.mark.parametrize("ends_at", [-1.0, 0.0, 1e13])
def test_a_contracts_end_lies_within_a_lifetime(ends_at: float) -> None:
    assert out_of_bounds(offer(ends_at=ends_at), NOW) == "ends_at"
    assert plausible_record(record(ends_at=ends_at), NOW).ends_at is None


@given(
    price=st.floats(allow_nan=False),
    storage=st.floats(allow_nan=False),
    down=st.floats(allow_nan=False),
)
def test_booked_money_never_falls_and_stays_within_bounds_whatever_vast_says(
    price: float, storage: float, down: float
) -> None:
    worker = make_worker(1, NOW, usd_per_hour=0.4, storage_usd_per_hour=0.01)
    told = record(usd_per_hour=price, storage_usd_per_hour=storage, inet_down_usd_per_gb=down)
    seen = plausible_record(told, NOW)
    changes = observe(worker, seen, listed_at=NOW, now=NOW).changes
    prices = {name: value for name, value in changes.items() if name.endswith("usd_per_hour")}
    after = replace(worker, **prices)  # type: ignore[arg-type]  # of a row's own fields
    assert after.usd_per_hour >= worker.usd_per_hour
    assert after.storage_usd_per_hour >= worker.storage_usd_per_hour
    before, cost = cost_of(worker, None), cost_of(after, seen)
    assert before.worst_microusd_per_hour <= cost.worst_microusd_per_hour <= 1e10


def test_a_machine_with_an_impossible_row_stays_in_the_list() -> None:
    told = plausible_record(record(usd_per_hour=HUGE, started_at=HUGE, dlperf=-1.0), NOW)
    assert (told.instance_id, told.usd_per_hour, told.started_at, told.dlperf) == (1, 0.0, 0.0, 0.0)


def test_a_turn_beyond_a_day_means_nothing() -> None:
    key = Verb.DESTROY.value
    slipped = Pacing({key: NOW + HUGE})
    assert slipped.wait_s(Verb.DESTROY, NOW) == 0.0
    assert slipped.called(Verb.DESTROY, NOW).wait_s(Verb.DESTROY, NOW) == pytest.approx(3.1)
    quota = Pacing({key: NOW + LONGEST_WAIT_S})
    assert quota.wait_s(Verb.DESTROY, NOW) == LONGEST_WAIT_S


@pytest.mark.parametrize(
    ("stored", "since"), [(0.0, NOW), (NOW - 60, NOW - 60), (NOW + 60, NOW + 60), (HUGE, NOW)]
)
def test_books_go_on_from_a_moment_that_can_be_true(stored: float, since: float) -> None:
    assert booked_since(Account(booked_at=stored), NOW) == since
