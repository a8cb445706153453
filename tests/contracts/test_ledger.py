"""The ledger port: the database adapter and the fake keep the same promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.adapters.aws.ledger import DynamoLedger
from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.money.account import CapsChangedError, RoundBooking
from chalicelib.core.money.budget import GroupCaps
from chalicelib.ports.ledger import FencedError, GuardRefusedError, Ledger
from fakes.ports.ledger import FakeLedger

NOW = 1_764_000_000.0  # 2025-11-24 16:00 UTC
CAPS = GroupCaps(max_workers=3)


@pytest.fixture(params=["memory", "dynamo"])
def ledger(request: pytest.FixtureRequest) -> Ledger:
    if request.param == "memory":
        return FakeLedger()
    client: Any = request.getfixturevalue("dynamodb")
    return DynamoLedger(client, "ballast-test")


def an_intent(token: str = "a" * 24, usd: float = 0.5, **changes: Any) -> RentIntent:
    intent = RentIntent(
        token=token,
        endpoint_id=1,
        autogroup_id=2,
        state=IntentState.PLANNED,
        planned_at=NOW,
        offer_id=7,
        machine_id=70,
        gpu_name="RTX 4090",
        num_gpus=1,
        usd_per_hour=usd,
        reserved_microusd_per_hour=int(usd * 1e6),
    )
    return replace(intent, **changes)


def a_fence(ledger: Ledger, now: float = NOW) -> int:
    lease = ledger.take_lease("loop", now, 30)
    assert lease is not None
    return lease.fence


def test_a_new_account_has_small_default_caps(ledger: Ledger) -> None:
    account = ledger.account()
    assert account.caps_microusd_per_hour == 5_000_000
    assert account.caps_microusd_per_day == 50_000_000
    assert account.caps_microusd_per_month == 500_000_000


def test_only_one_holds_the_lease(ledger: Ledger) -> None:
    lease = ledger.take_lease("one", NOW, 30)
    assert lease is not None
    assert lease.account == ledger.account()
    assert ledger.take_lease("two", NOW + 29, 30) is None
    later = ledger.take_lease("two", NOW + 31, 30)
    assert later is not None
    assert later.fence > lease.fence


def test_a_released_lease_is_free_and_a_foreign_one_stays(ledger: Ledger) -> None:
    first = a_fence(ledger)
    ledger.release_lease(first)
    second = a_fence(ledger)
    ledger.release_lease(first)
    assert ledger.take_lease("three", NOW + 1, 30) is None
    assert ledger.renew_lease(second, NOW + 20, 30).lease_until == NOW + 50


FENCED: dict[str, Callable[[Ledger, int], object]] = {
    "renew_lease": lambda ledger, fence: ledger.renew_lease(fence, NOW, 30),
    "reserve": lambda ledger, fence: ledger.reserve(fence, an_intent(), CAPS, NOW),
    "reserve_start": lambda ledger, fence: ledger.reserve_start(fence, 1, 5, CAPS, NOW),
    "put_intent": lambda ledger, fence: ledger.put_intent(fence, an_intent()),
    "settle_round": lambda ledger, fence: ledger.settle_round(
        fence, RoundBooking(booked_until=NOW, spent_by_group={1: 5})
    ),
    "write_blob": lambda ledger, fence: ledger.write_blob(fence, "round", b"x"),
}


@pytest.mark.parametrize("write", FENCED)
def test_a_fenced_writer_changes_nothing(ledger: Ledger, write: str) -> None:
    old = a_fence(ledger)
    a_fence(ledger, NOW + 31)
    before = ledger.account()
    with pytest.raises(FencedError):
        FENCED[write](ledger, old)
    assert ledger.account() == before
    assert ledger.intents() == []
    assert ledger.read_blob("round") is None


def test_code_older_than_the_account_stands_down(ledger: Ledger) -> None:
    if isinstance(ledger, FakeLedger):
        ledger.account_now = replace(ledger.account_now, schema_version=99, version=1)
    else:
        assert isinstance(ledger, DynamoLedger)
        ledger._change(None, lambda old: replace(old, schema_version=99))
    assert ledger.take_lease("old code", NOW, 30) is None


def test_a_reservation_commits_money_and_a_worker_with_the_intent(ledger: Ledger) -> None:
    ledger.reserve(a_fence(ledger), an_intent(reserved_once_microusd=1000), CAPS, NOW)
    account = ledger.account()
    assert account.committed_by_group == {1: 500_000}
    assert account.workers_by_group == {1: 1}
    assert account.spent_today_by_group == {1: 1000}
    assert ledger.intents() == [an_intent(reserved_once_microusd=1000)]


def test_a_refused_reservation_leaves_no_trace(ledger: Ledger) -> None:
    fence = a_fence(ledger)
    with pytest.raises(GuardRefusedError) as refused:
        ledger.reserve(fence, an_intent(usd=5.01), CAPS, NOW)
    assert refused.value.cap == "cap_hour"
    assert ledger.intents() == []
    assert ledger.account().committed_by_group == {}


@pytest.mark.parametrize(
    ("caps", "cap"),
    [
        (GroupCaps(max_workers=0), "max_workers"),
        (GroupCaps(max_workers=3, microusd_per_hour=499_999), "group_cap_hour"),
        (GroupCaps(max_workers=3, microusd_per_day=499_999), "group_cap_day"),
        (GroupCaps(max_workers=3, microusd_per_month=499_999), "group_cap_month"),
    ],
)
def test_each_cap_of_a_group_is_kept(ledger: Ledger, caps: GroupCaps, cap: str) -> None:
    fence = a_fence(ledger)
    with pytest.raises(GuardRefusedError) as refused:
        ledger.reserve(fence, an_intent(usd=0.5), caps, NOW)
    assert refused.value.cap == cap


def test_caps_hold_over_the_sum_of_reservations(ledger: Ledger) -> None:
    ledger.set_caps({"caps_microusd_per_hour": 1_000_000})
    fence = a_fence(ledger)
    ledger.reserve(fence, an_intent("a" * 24), CAPS, NOW)
    ledger.reserve(fence, an_intent("b" * 24), CAPS, NOW)
    with pytest.raises(GuardRefusedError):
        ledger.reserve(fence, an_intent("c" * 24, usd=0.000001), CAPS, NOW)
    with pytest.raises(GuardRefusedError):
        ledger.reserve_start(fence, 1, 1, CAPS, NOW)


def test_a_start_commits_money_but_no_worker(ledger: Ledger) -> None:
    ledger.reserve_start(a_fence(ledger), 1, 400_000, CAPS, NOW)
    account = ledger.account()
    assert (account.committed_by_group, account.workers_by_group) == ({1: 400_000}, {})


def test_the_owners_brakes_stop_reservations_without_a_lease(ledger: Ledger) -> None:
    fence = a_fence(ledger)
    ledger.set_flags(is_frozen=True)
    with pytest.raises(GuardRefusedError):
        ledger.reserve(fence, an_intent(), CAPS, NOW)
    ledger.set_flags(is_frozen=False, is_panicking=True)
    account = ledger.account()
    assert (account.is_frozen, account.is_panicking) == (False, True)
    with pytest.raises(GuardRefusedError):
        ledger.reserve_start(fence, 1, 1, CAPS, NOW)


def test_the_public_url_needs_no_lease(ledger: Ledger) -> None:
    ledger.set_public_url("https://ballast.example")
    assert ledger.account().public_url == "https://ballast.example"


@pytest.mark.parametrize("caps", [{"fence": 1}, {"caps_microusd_per_day": -1}])
def test_what_is_no_cap_is_refused_by_name(ledger: Ledger, caps: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(caps))):
        ledger.set_caps(caps)


def test_caps_are_set_only_over_those_that_are_expected(ledger: Ledger) -> None:
    hour, day = "caps_microusd_per_hour", "caps_microusd_per_day"
    ledger.set_caps({hour: 5, day: 50})
    with pytest.raises(CapsChangedError):
        ledger.set_caps({hour: 9}, {hour: 5, day: 51})
    assert ledger.account().caps_microusd_per_hour == 5
    ledger.set_caps({hour: 9}, {hour: 5, day: 50})
    assert ledger.account().caps_microusd_per_hour == 9


def test_a_void_intent_releases_once(ledger: Ledger) -> None:
    fence = a_fence(ledger)
    ledger.reserve(fence, an_intent("a" * 24), CAPS, NOW)
    ledger.reserve(fence, an_intent("b" * 24, reserved_once_microusd=9), CAPS, NOW)
    void = an_intent(
        "b" * 24, reserved_once_microusd=9, state=IntentState.VOID, settled_at=NOW + 1.5
    )
    ledger.put_intent(fence, void)
    ledger.put_intent(fence, void)
    account = ledger.account()
    assert account.committed_by_group == {1: 500_000}
    assert account.workers_by_group == {1: 1}
    assert account.spent_today_microusd == 0
    assert list(ledger.intents()) == [an_intent("a" * 24), void]


def test_a_turn_is_taken_once_and_never_comes_earlier(ledger: Ledger) -> None:
    assert ledger.claim_turn("list", NOW, NOW + 1.1) == NOW
    assert ledger.claim_turn("list", NOW + 1, NOW + 2.1) == NOW + 1.1
    assert ledger.claim_turn("search", NOW + 1, NOW + 7) == NOW + 1
    assert ledger.claim_turn("list", NOW + 1.1, NOW + 2.2) == NOW + 1.1
    ledger.book_turn("list", NOW + 30)
    ledger.book_turn("list", NOW + 20)
    assert ledger.claim_turn("list", NOW + 25, NOW + 26) == NOW + 30
    fence = a_fence(ledger)
    account = ledger.settle_round(
        fence, RoundBooking(booked_until=NOW, spent_by_group={}), {"list": NOW + 2}
    )
    assert account.next_call_at == {"list": NOW + 30, "search": NOW + 7}


def test_spend_is_booked_once_per_moment_and_rolls_over_in_utc(ledger: Ledger) -> None:
    fence = a_fence(ledger)
    booking = RoundBooking(booked_until=NOW, spent_by_group={1: 10, 2: 5}, idle_microusd=4)
    ledger.settle_round(fence, booking)
    account = ledger.settle_round(fence, booking, {"list": NOW + 1.5})
    assert account == ledger.account()
    assert (account.spent_today_microusd, account.idle_today_microusd) == (15, 4)
    assert account.next_call_at == {"list": NOW + 1.5}
    # 24 h until 16:00 UTC of the next day: 16 of them fell on that day.
    tomorrow = RoundBooking(booked_until=NOW + 86_400, spent_by_group={1: 2400}, idle_microusd=240)
    account = ledger.settle_round(fence, tomorrow)
    assert account.spent_today_by_group == {1: 1600}
    assert account.idle_today_microusd == 160
    assert account.spent_month_by_group == {1: 2410, 2: 5}
    next_month = RoundBooking(booked_until=NOW + 8 * 86_400, spent_by_group={})
    assert ledger.settle_round(fence, next_month).spent_month_microusd == 0


def test_commitments_stay_when_the_inventory_is_in_doubt(ledger: Ledger) -> None:
    fence = a_fence(ledger)
    known = RoundBooking(
        booked_until=NOW,
        spent_by_group={},
        committed_by_group={1: 7},
        storage_by_group={1: 2},
        workers_by_group={1: 1},
    )
    ledger.settle_round(fence, known)
    account = ledger.settle_round(fence, RoundBooking(booked_until=NOW + 5, spent_by_group={}))
    assert account.committed_by_group == {1: 7}
    assert account.workers_by_group == {1: 1}


@pytest.mark.parametrize("size", [0, 10, 1_500_000])
def test_blobs_come_back_whole_and_are_replaced(ledger: Ledger, size: int) -> None:
    fence = a_fence(ledger)
    incompressible = b"".join(
        hash((i, "x")).to_bytes(8, "little", signed=True) for i in range(size // 8)
    )
    ledger.write_blob(fence, "round", incompressible)
    assert ledger.read_blob("round") == incompressible
    ledger.write_blob(fence, "round", b"short")
    assert ledger.read_blob("round") == b"short"
    assert ledger.read_blob("roun") is None
