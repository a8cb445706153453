"""The money guard's laws, on any account and any ask."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.money.account import (
    Account,
    RoundBooking,
    day_of,
    roll_over,
    seconds_left_this_month,
    seconds_left_today,
    with_booking,
)
from chalicelib.core.money.budget import (
    RUNWAY_S,
    Ask,
    GroupCaps,
    GuardRefusedError,
    free_microusd_per_hour,
    must_wind_down,
    refusal,
    to_micro,
    with_release,
    with_reservation,
)

NOW = 1_800_014_400.0  # 2027-01-15 12:00 UTC
money = st.integers(0, 20_000_000)
asks = st.builds(
    Ask,
    endpoint_id=st.integers(1, 3),
    microusd_per_hour=money,
    n_workers=st.integers(0, 1),
    once_microusd=st.integers(0, 1_000_000),
)
group_caps = st.builds(
    GroupCaps,
    max_workers=st.integers(0, 5),
    microusd_per_hour=st.none() | money,
    microusd_per_day=st.none() | money,
    microusd_per_month=st.none() | money,
)
accounts = st.builds(
    Account,
    caps_microusd_per_hour=money,
    caps_microusd_per_day=money,
    caps_microusd_per_month=money,
    committed_by_group=st.dictionaries(st.integers(1, 3), st.integers(1, 3_000_000)),
    workers_by_group=st.dictionaries(st.integers(1, 3), st.integers(1, 4)),
    spent_today_by_group=st.dictionaries(st.integers(1, 3), st.integers(1, 5_000_000)),
    spent_month_by_group=st.dictionaries(st.integers(1, 3), st.integers(1, 9_000_000)),
    day=st.just(day_of(NOW)),
    month=st.just(day_of(NOW)[:7]),
)


@given(accounts, st.lists(st.tuples(asks, group_caps), max_size=12))
def test_no_sequence_of_reservations_passes_a_cap(
    account: Account, wishes: list[tuple[Ask, GroupCaps]]
) -> None:
    for ask, caps in wishes:
        if refusal(account, ask, caps, NOW):
            with pytest.raises(GuardRefusedError):
                with_reservation(account, ask, caps, NOW)
            continue
        account = with_reservation(account, ask, caps, NOW)
        assert account.committed_microusd_per_hour <= account.caps_microusd_per_hour
        hour_ahead = account.spent_today_microusd + account.committed_microusd_per_hour
        assert hour_ahead <= account.caps_microusd_per_day
        if ask.n_workers:
            assert account.workers_by_group[ask.endpoint_id] <= caps.max_workers
        if caps.microusd_per_hour is not None:
            own = account.committed_by_group.get(ask.endpoint_id, 0)
            assert own <= caps.microusd_per_hour


@given(accounts, asks, group_caps)
def test_a_release_undoes_a_reservation(account: Account, ask: Ask, caps: GroupCaps) -> None:
    if refusal(account, ask, caps, NOW):
        return
    assert with_release(with_reservation(account, ask, caps, NOW), ask) == account


@given(accounts, group_caps, st.integers(1, 3))
def test_what_is_free_may_be_asked_for_and_no_more(
    account: Account, caps: GroupCaps, endpoint_id: int
) -> None:
    free, name = free_microusd_per_hour(account, endpoint_id, caps, NOW)
    ask = Ask(endpoint_id=endpoint_id, microusd_per_hour=free, n_workers=0)
    if free:
        assert refusal(account, ask, caps, NOW) == ""
    more = replace(ask, microusd_per_hour=free + 2)
    assert refusal(account, more, caps, NOW) != ""
    assert name


@given(accounts, group_caps)
def test_a_wind_down_begins_while_its_own_time_is_still_affordable(
    account: Account, caps: GroupCaps
) -> None:
    if must_wind_down(account, 1, caps, NOW):
        return
    runway = account.committed_microusd_per_hour * RUNWAY_S / 3600
    assert account.spent_today_microusd + runway <= account.caps_microusd_per_day
    assert account.spent_month_microusd + runway <= account.caps_microusd_per_month


@pytest.mark.parametrize(
    ("usd", "micro"), [(0.0, 0), (1e-10, 0), (1.1e-6, 2), (0.1, 100_000), (0.29, 290_000)]
)
def test_dollars_are_rounded_up_without_float_dust(usd: float, micro: int) -> None:
    assert to_micro(usd) == micro


def test_days_and_months_end_in_utc() -> None:
    assert seconds_left_today(NOW) == 12 * 3600
    assert seconds_left_this_month(NOW) == (31 - 15) * 86_400 + 12 * 3600
    account = Account(day="2027-01-14", month="2027-01", spent_today_by_group={1: 5})
    rolled = roll_over(replace(account, spent_month_by_group={1: 5}), NOW)
    assert (rolled.spent_today_microusd, rolled.spent_month_microusd) == (0, 5)


@given(st.lists(st.floats(1, 200_000), min_size=1, max_size=20))
def test_every_booked_cent_is_counted_once_in_its_month(steps: list[float]) -> None:
    account, now, total = Account(booked_at=NOW, day=day_of(NOW), month="2027-01"), NOW, 0
    for step in steps:
        now += step
        if day_of(now)[:7] != "2027-01":
            break
        total += 1000
        account = with_booking(account, RoundBooking(booked_until=now, spent_by_group={1: 1000}))
    assert account.spent_month_microusd == total
