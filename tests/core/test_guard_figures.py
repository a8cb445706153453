"""The money guard to the micro-dollar: each cap alone, at its edge and beyond it; and the books."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.money.account import (
    SCHEMA_VERSION,
    Account,
    RoundBooking,
    booked_since,
    roll_over,
    with_booking,
    with_caps,
    with_lease,
    with_turns,
)
from chalicelib.core.money.budget import (
    MONEY_CAPS,
    Ask,
    Cap,
    GroupCaps,
    ask_of,
    free_microusd_per_hour,
    limits_of,
    must_wind_down,
    over_microusd_per_hour,
    refusal,
    running_microusd_per_hour,
    with_release,
    with_reservation,
)

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
MIDNIGHT = NOON + 12 * 3600
MONTH_END = MIDNIGHT + 16 * 86_400
HUGE = 10**15
OPEN = Account(
    caps_microusd_per_hour=HUGE,
    caps_microusd_per_day=HUGE,
    caps_microusd_per_month=HUGE,
    caps_idle_microusd_per_day=HUGE,
    committed_by_group={1: 300_000, 2: 700_000},
    storage_by_group={1: 10_000, 2: 20_000},
    workers_by_group={1: 2, 2: 5},
    spent_today_by_group={1: 2_000_000, 2: 1_000_000},
    spent_month_by_group={1: 5_000_000, 2: 4_000_000},
    day="2027-01-15",
    month="2027-01",
    booked_at=NOON,
)
FREE = GroupCaps(max_workers=100)
ASK = Ask(endpoint_id=1, microusd_per_hour=500_000, n_workers=1, once_microusd=40_000)


def caps(account: Account = OPEN, **changes: object) -> Account:
    return replace(account, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("account", "group_caps", "cap"),
    [
        (OPEN, FREE, ""),
        (caps(caps_microusd_per_hour=1_540_000), FREE, ""),
        (caps(caps_microusd_per_hour=1_539_999), FREE, Cap.HOUR),
        (caps(caps_microusd_per_day=4_540_000), FREE, ""),
        (caps(caps_microusd_per_day=4_539_999), FREE, Cap.DAY),
        (caps(caps_microusd_per_month=10_540_000), FREE, ""),
        (caps(caps_microusd_per_month=10_539_999), FREE, Cap.MONTH),
        (OPEN, GroupCaps(max_workers=100, microusd_per_hour=840_000), ""),
        (OPEN, GroupCaps(max_workers=100, microusd_per_hour=839_999), Cap.OWN_HOUR),
        (OPEN, GroupCaps(max_workers=100, microusd_per_day=2_840_000), ""),
        (OPEN, GroupCaps(max_workers=100, microusd_per_day=2_839_999), Cap.OWN_DAY),
        (OPEN, GroupCaps(max_workers=100, microusd_per_month=5_840_000), ""),
        (OPEN, GroupCaps(max_workers=100, microusd_per_month=5_839_999), Cap.OWN_MONTH),
        (OPEN, GroupCaps(max_workers=3), ""),
        (OPEN, GroupCaps(max_workers=2), Cap.MAX_WORKERS),
        (caps(idle_today_microusd=9, caps_idle_microusd_per_day=10), FREE, ""),
        (caps(idle_today_microusd=10, caps_idle_microusd_per_day=10), FREE, Cap.IDLE_DAY),
        (caps(is_frozen=True), FREE, Cap.FROZEN),
        (caps(is_panicking=True), FREE, Cap.PANICKING),
    ],
)
def test_each_cap_refuses_alone_and_only_beyond_it(
    account: Account, group_caps: GroupCaps, cap: str
) -> None:
    assert refusal(account, ASK, group_caps, NOON) == cap


def test_a_start_needs_no_room_for_a_worker_and_a_panic_forbids_it() -> None:
    start = replace(ASK, n_workers=0)
    account = caps(is_frozen=True, idle_today_microusd=10, caps_idle_microusd_per_day=10)
    assert refusal(account, start, GroupCaps(max_workers=0), NOON) == ""
    assert refusal(caps(is_panicking=True), start, FREE, NOON) == Cap.PANICKING


def test_what_was_spent_yesterday_counts_today_no_more() -> None:
    account = caps(caps_microusd_per_day=1_540_000, idle_today_microusd=HUGE)
    assert refusal(account, ASK, FREE, NOON) != ""
    assert refusal(account, ASK, FREE, MIDNIGHT + 1) == ""


def test_a_rental_must_be_affordable_for_an_hour_or_until_the_period_ends() -> None:
    near = MIDNIGHT - 1800
    account = caps(caps_microusd_per_day=3_000_000 + 40_000 + 750_000)
    assert refusal(account, ASK, FREE, near) == ""
    assert refusal(account, ASK, FREE, near - 60) == Cap.DAY
    month = caps(caps_microusd_per_month=9_000_000 + 40_000 + 750_000, day="2027-01-31")
    assert refusal(month, ASK, FREE, MONTH_END - 1800) == ""
    assert refusal(month, ASK, FREE, MONTH_END - 1860) == Cap.MONTH


def test_what_is_free_is_named_by_the_cap_that_binds() -> None:
    account = caps(caps_microusd_per_hour=1_600_000, caps_microusd_per_day=4_300_000)
    assert free_microusd_per_hour(account, 1, FREE, NOON) == (300_000, Cap.DAY)
    own = GroupCaps(max_workers=1, microusd_per_hour=420_000)
    assert free_microusd_per_hour(account, 1, own, NOON) == (120_000, Cap.OWN_HOUR)
    assert free_microusd_per_hour(account, 3, own, NOON) == (300_000, Cap.DAY)
    assert free_microusd_per_hour(caps(caps_microusd_per_hour=5), 1, FREE, NOON) == (0, Cap.HOUR)
    half = caps(caps_microusd_per_day=4_000_000)
    assert free_microusd_per_hour(half, 1, FREE, MIDNIGHT - 1800) == (1_000_000, Cap.DAY)
    last = caps(caps_microusd_per_day=3_000_900)  # a second is the least that is reckoned with
    assert free_microusd_per_hour(last, 1, FREE, MIDNIGHT - 0.5) == (2_240_000, Cap.DAY)


def test_what_is_used_of_each_limit() -> None:
    own = GroupCaps(max_workers=1, microusd_per_hour=7, microusd_per_day=8, microusd_per_month=9)
    used = {one.name: (one.used, one.cap, one.is_own) for one in limits_of(OPEN, 1, own, NOON)}
    assert used == {
        Cap.HOUR: (1_000_000, HUGE, False),
        Cap.DAY: (3_000_000, HUGE, False),
        Cap.MONTH: (9_000_000, HUGE, False),
        Cap.OWN_HOUR: (300_000, 7, True),
        Cap.OWN_DAY: (2_000_000, 8, True),
        Cap.OWN_MONTH: (5_000_000, 9, True),
    }
    unknown = {one.name: one.used for one in limits_of(OPEN, 5, own, NOON)}
    assert [unknown[cap] for cap in (Cap.OWN_HOUR, Cap.OWN_DAY, Cap.OWN_MONTH)] == [0, 0, 0]
    assert len(limits_of(OPEN, 1, FREE, NOON)) == 3


def test_how_far_an_hourly_cap_is_passed() -> None:
    own = GroupCaps(max_workers=1, microusd_per_hour=250_000, microusd_per_day=1)
    account = caps(caps_microusd_per_hour=900_000)
    assert over_microusd_per_hour(account, 1, own, Cap.HOUR, NOON) == 100_000
    assert over_microusd_per_hour(account, 1, own, Cap.OWN_HOUR, NOON) == 50_000
    assert over_microusd_per_hour(account, 1, own, Cap.OWN_DAY, NOON) is None
    assert over_microusd_per_hour(account, 1, own, Cap.DAY, NOON) is None
    assert over_microusd_per_hour(account, 1, FREE, Cap.OWN_HOUR, NOON) is None


RUNWAY_AND_DISKS = 250_000 + 30_000 * (12 * 3600 - 900) // 3600  # of the account, until midnight
OWN_RUNWAY_AND_DISKS = 75_000 + 10_000 * (12 * 3600 - 900) // 3600
MONTHS_DISKS = 250_000 + 30_000 * (16 * 86_400 + 12 * 3600 - 900) // 3600


@pytest.mark.parametrize(
    ("account", "group_caps", "cap"),
    [
        (OPEN, FREE, ""),
        (caps(caps_microusd_per_hour=1_000_000), FREE, ""),
        (caps(caps_microusd_per_hour=999_999), FREE, Cap.HOUR),
        (caps(caps_microusd_per_day=3_000_000 + RUNWAY_AND_DISKS), FREE, ""),
        (caps(caps_microusd_per_day=3_000_000 + RUNWAY_AND_DISKS - 1), FREE, Cap.DAY),
        (caps(caps_microusd_per_month=9_000_000 + MONTHS_DISKS), FREE, ""),
        (caps(caps_microusd_per_month=9_000_000 + MONTHS_DISKS - 1), FREE, Cap.MONTH),
        (OPEN, GroupCaps(max_workers=1, microusd_per_hour=300_000), ""),
        (OPEN, GroupCaps(max_workers=1, microusd_per_hour=299_999), Cap.OWN_HOUR),
        (OPEN, GroupCaps(max_workers=1, microusd_per_day=2_000_000 + OWN_RUNWAY_AND_DISKS), ""),
        (
            OPEN,
            GroupCaps(max_workers=1, microusd_per_day=2_000_000 + OWN_RUNWAY_AND_DISKS - 1),
            Cap.OWN_DAY,
        ),
    ],
)
def test_a_wind_down_begins_when_its_own_time_and_the_disks_would_pass_a_cap(
    account: Account, group_caps: GroupCaps, cap: str
) -> None:
    assert must_wind_down(account, 1, group_caps, NOON) == cap


def test_nothing_is_kept_back_beyond_the_periods_end() -> None:
    minute = caps(caps_microusd_per_day=3_000_000 + 1_000_000 // 60)
    assert must_wind_down(minute, 1, FREE, MIDNIGHT - 59) == ""
    assert must_wind_down(minute, 1, FREE, MIDNIGHT - 62) == Cap.DAY
    assert must_wind_down(minute, 1, FREE, MIDNIGHT + 1) == ""  # a new day
    nobody = GroupCaps(max_workers=1, microusd_per_hour=0)
    assert must_wind_down(OPEN, 5, nobody, NOON) == ""


def test_traffic_is_priced_both_ways() -> None:
    assert running_microusd_per_hour(0.4, 0.01, 0.02) == 430_000


def test_a_reservation_adds_and_a_release_takes_the_same_away() -> None:
    after = with_reservation(OPEN, ASK, FREE, NOON)
    assert after.committed_by_group == {1: 800_000, 2: 700_000}
    assert after.workers_by_group == {1: 3, 2: 5}
    assert after.spent_today_by_group == {1: 2_040_000, 2: 1_000_000}
    assert after.spent_month_by_group == {1: 5_040_000, 2: 4_000_000}
    assert with_release(after, ASK) == OPEN
    new = with_reservation(OPEN, replace(ASK, endpoint_id=3), FREE, NOON)
    assert with_release(new, replace(ASK, endpoint_id=3)) == OPEN
    assert with_release(Account(), ASK) == Account()  # no less than nothing
    tomorrow = with_reservation(OPEN, ASK, FREE, MIDNIGHT + 1)
    assert tomorrow.spent_today_by_group == {1: 40_000}


def test_an_intents_ask_is_what_it_reserved() -> None:
    intent = RentIntent(
        token="t",
        endpoint_id=1,
        autogroup_id=2,
        state=IntentState.PLANNED,
        planned_at=NOON,
        offer_id=5,
        machine_id=6,
        gpu_name="RTX 4090",
        num_gpus=1,
        usd_per_hour=0.5,
        reserved_microusd_per_hour=500_000,
        reserved_once_microusd=40_000,
    )
    assert ask_of(intent) == ASK


def test_caps_on_money_are_those_that_an_owner_can_raise() -> None:
    assert {cap.value for cap in MONEY_CAPS} == {
        *("cap_idle_day", "cap_hour", "cap_day", "cap_month"),
        *("group_cap_hour", "group_cap_day", "group_cap_month"),
    }


def test_a_lease_is_one_loops_until_it_ends_and_newer_code_keeps_older_out() -> None:
    first = with_lease(OPEN, "a", NOON, 60.0)
    assert first is not None
    assert (first.lease_owner, first.lease_until, first.fence) == ("a", NOON + 60, 1)
    assert with_lease(first, "b", NOON + 59, 60.0) is None
    second = with_lease(first, "b", NOON + 60, 60.0)
    assert second is not None
    assert second.fence == 2
    ahead = caps(lease_until=NOON + 361)  # no loop leases for so long: that clock was wrong
    assert with_lease(ahead, "b", NOON, 60.0) is not None
    assert with_lease(caps(lease_until=NOON + 360), "b", NOON, 60.0) is None
    assert with_lease(caps(schema_version=SCHEMA_VERSION + 1), "b", NOON, 60.0) is None
    older = with_lease(caps(schema_version=SCHEMA_VERSION - 1), "b", NOON, 60.0)
    assert older is not None
    assert older.schema_version == SCHEMA_VERSION
    assert with_lease(replace(OPEN, is_foreign=True), "b", NOON, 60.0) is None
    assert "cannot read" in replace(OPEN, is_foreign=True).why_not_ours
    assert OPEN.why_not_ours == ""


def test_a_cap_is_no_other_field_and_not_negative() -> None:
    assert with_caps(OPEN, {"caps_microusd_per_hour": 0}).caps_microusd_per_hour == 0
    with pytest.raises(ValueError, match="negative"):
        with_caps(OPEN, {"caps_microusd_per_hour": -1})
    with pytest.raises(ValueError, match="no such cap"):
        with_caps(OPEN, {"fence": 1})


def test_turns_stay_where_they_are_known_to_be_later() -> None:
    account = replace(OPEN, next_call_at={"list": NOON + 9, "search": NOON + 5})
    after = with_turns(account, {"list": NOON + 7, "search": NOON + 8, "credit": NOON + 1})
    assert after.next_call_at == {"list": NOON + 9, "search": NOON + 8, "credit": NOON + 1}


def test_books_begin_now_and_a_moment_that_cannot_be_true_is_now() -> None:
    assert booked_since(replace(OPEN, booked_at=0.0), NOON) == NOON
    assert booked_since(replace(OPEN, booked_at=0.5), NOON) == 0.5
    assert booked_since(OPEN, NOON + 60) == NOON
    assert booked_since(replace(OPEN, booked_at=NOON + 301), NOON) == NOON


def booked(until: float, account: Account = OPEN, **changes: object) -> Account:
    booking = RoundBooking(booked_until=until, spent_by_group={1: 1000}, idle_microusd=500)
    return with_booking(account, replace(booking, **changes))  # type: ignore[arg-type]


def test_a_rounds_books_are_added_once() -> None:
    after = booked(NOON + 60)
    assert after.booked_at == NOON + 60
    assert after.spent_today_by_group == {1: 2_001_000, 2: 1_000_000}
    assert after.spent_month_by_group == {1: 5_001_000, 2: 4_000_000}
    assert after.idle_today_microusd == 500
    assert after.committed_by_group == OPEN.committed_by_group  # in doubt it stays
    again = booked(NOON + 60, after)
    assert again == after
    new = booked(NOON + 60, account=replace(OPEN, spent_today_by_group={}))
    assert new.spent_today_by_group == {1: 1000}


def test_known_commitments_replace_what_was_reserved() -> None:
    after = booked(
        NOON,
        committed_by_group={1: 7},
        storage_by_group={1: 8},
        workers_by_group={1: 9},
    )
    assert (after.committed_by_group, after.storage_by_group) == ({1: 7}, {1: 8})
    assert after.workers_by_group == {1: 9}


def test_spend_across_midnight_and_a_months_end_is_shared_by_time() -> None:
    before = replace(OPEN, booked_at=MIDNIGHT - 300)
    after = booked(MIDNIGHT + 100, before)
    assert after.day == "2027-01-16"
    assert after.spent_today_by_group == {1: 250}
    assert after.idle_today_microusd == 125
    assert after.spent_month_by_group == {1: 5_001_000, 2: 4_000_000}
    moment = booked(MIDNIGHT + 0.25, replace(OPEN, booked_at=MIDNIGHT - 0.25))
    assert moment.spent_today_by_group == {1: 500}
    last = replace(OPEN, booked_at=MONTH_END - 300, day="2027-01-31")
    month = booked(MONTH_END + 100, last)
    assert (month.day, month.month) == ("2027-02-01", "2027-02")
    assert month.spent_month_by_group == {1: 250}
    assert month.spent_today_by_group == {1: 250}


def test_books_of_a_clock_that_was_ahead_start_anew_and_nothing_counted_is_lost() -> None:
    ahead = replace(OPEN, booked_at=NOON + 86_400)
    after = booked(NOON, ahead)
    assert after.booked_at == NOON
    assert after.spent_today_by_group[1] == 2_001_000


@pytest.mark.parametrize("jumps_s", [[3600], [-3600], [40 * 86_400], [3600, -3600], [-7200, 900]])
def test_what_a_clock_booked_that_jumped_and_came_back_is_taken_back(jumps_s: list[float]) -> None:
    account = OPEN
    for n in range(10):
        for at in (*[NOON + 20 * n + jump_s for jump_s in jumps_s], NOON + 20 * (n + 1)):
            spent = round(max(at - booked_since(account, at), 0.0) * 100)
            account = with_booking(
                account, RoundBooking(booked_until=at, spent_by_group={1: spent})
            )
    assert account.spent_today_by_group[1] == 2_000_000 + 200 * 100
    assert account.spent_month_by_group[1] == 5_000_000 + 200 * 100


def test_an_outage_is_booked_and_a_clock_that_stays_behind_starts_anew() -> None:
    after = booked(NOON + 7200)
    assert after.spent_today_by_group[1] == 2_001_000
    later = booked(NOON + 12_000, after)
    assert (later.spent_today_by_group[1], later.before_jump is None) == (2_002_000, False)
    assert booked(NOON + 12_015, later).before_jump is None
    assert booked(NOON + 6000, replace(later, before_jump=None)).booked_at == NOON + 6000


def test_days_roll_over_forwards_alone() -> None:
    idle = replace(OPEN, idle_today_microusd=5)
    tomorrow = roll_over(idle, MIDNIGHT)
    assert (tomorrow.day, tomorrow.idle_today_microusd) == ("2027-01-16", 0)
    assert (tomorrow.month, tomorrow.spent_month_by_group) == ("2027-01", OPEN.spent_month_by_group)
    assert roll_over(idle, NOON - 86_400 * 0.4) is idle
    assert roll_over(tomorrow, MIDNIGHT - 60) is tomorrow  # a clock a minute behind
    ahead = replace(idle, day="2027-03-01", month="2027-03")
    back = roll_over(ahead, NOON)
    assert (back.day, back.month) == ("2027-01-15", "2027-01")
    assert back.spent_today_by_group == OPEN.spent_today_by_group
    year = roll_over(replace(OPEN, day="2026-12-31", month="2026-12"), NOON)
    assert (year.month, year.spent_month_by_group) == ("2027-01", {})
