"""What a row may bill before its machine counts as one that bills far above its offer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.observation import is_overbilling, observe
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState

NOW = 1_800_000_000.0
WORKER = Worker(
    endpoint_id=1,
    instance_id=5,
    autogroup_id=2,
    created_at=NOW - 3600.0,
    state=WorkerState.READY,
    state_since=NOW - 3000.0,
    usd_per_hour=1.0,
    agreed_usd_per_hour=1.0,
)
RECORD = InstanceRecord(
    instance_id=5,
    label="",
    actual_status="running",
    intended_status="running",
    cur_state="running",
    usd_per_hour=1.0,
    storage_usd_per_hour=0.1,
)


def seen(worker: Worker, *usd_per_hour: float, bid: float = 0.0) -> Worker:
    """The row after listings that billed so much."""
    for usd in usd_per_hour:
        record = replace(RECORD, usd_per_hour=usd, bid_usd_per_hour=bid)
        changes = observe(worker, record, listed_at=NOW, now=NOW).changes
        worker = replace(worker, **changes)  # type: ignore[arg-type]  # the row's own names
    return worker


@pytest.mark.parametrize(("usd", "is_far"), [(1.0, False), (1.52, False), (1.53, True)])
def test_half_as_much_again_and_two_cents_are_no_rounding(usd: float, is_far: bool) -> None:
    assert is_overbilling(seen(WORKER, usd, usd)) is is_far


def test_it_takes_two_listings_in_a_row_and_ends_with_one_that_bills_as_agreed() -> None:
    once = seen(WORKER, 10.0)
    assert (is_overbilling(once), once.usd_per_hour) == (False, 10.0)
    back = seen(once, 1.0)
    assert (back.n_overbilled, back.usd_per_hour) == (0, 1.0)
    assert not is_overbilling(seen(WORKER, 10.0, 1.0, 10.0))
    twice = seen(once, 9.0)
    assert (is_overbilling(twice), twice.usd_per_hour) == (True, 10.0)
    assert seen(twice, 0.5).usd_per_hour == 1.0, "never below what was agreed"
    assert seen(twice, 1.4).usd_per_hour == 1.4


def test_a_row_that_tells_its_disk_alone_or_nothing_takes_nothing_back() -> None:
    once = seen(WORKER, 10.0)
    for usd in (0.0, 0.1):
        assert (seen(once, usd).n_overbilled, seen(once, usd).usd_per_hour) == (1, 10.0)


def test_where_no_price_was_agreed_there_is_nothing_to_hold_it_against() -> None:
    restored = replace(WORKER, agreed_usd_per_hour=0.0)
    assert not is_overbilling(seen(restored, 10.0, 10.0))


def test_a_bid_may_bill_what_was_bid() -> None:
    bid = replace(WORKER, is_bid=True, bid_usd_per_hour=3.9)
    assert not is_overbilling(seen(bid, 4.0, 4.0))
    assert not is_overbilling(seen(replace(bid, bid_usd_per_hour=0.9), 4.0, 4.0, bid=3.9))
    assert is_overbilling(seen(bid, 10.0, 10.0))
