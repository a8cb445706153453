"""Schedules: floors on min_load by cron, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.endpoint_group import FloorSchedule, ParameterError
from chalicelib.core.model.schedules import (
    check_schedule,
    is_in_force,
    parse_cron,
    scheduled_min_load,
)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def floor(cron: str, hours: float = 1.0, min_load: float = 100.0) -> FloorSchedule:
    return FloorSchedule(cron=cron, duration_s=hours * 3600, min_load=min_load)


@pytest.mark.parametrize(
    ("cron", "hours", "moment", "is_on"),
    [
        ("0 8 * * mon-fri", 10, "2026-11-20T08:00:00", True),  # a Friday
        ("0 8 * * mon-fri", 10, "2026-11-20T17:59:59", True),
        ("0 8 * * mon-fri", 10, "2026-11-20T18:00:00", False),
        ("0 8 * * mon-fri", 10, "2026-11-20T07:59:59", False),
        ("0 8 * * mon-fri", 10, "2026-11-21T12:00:00", False),  # a Saturday
        ("0 22 * * *", 8, "2026-11-21T05:59:00", True),  # over midnight
        ("0 22 31 12 *", 8, "2027-01-01T03:00:00", True),  # over the year
        ("*/15 * * * *", 0.1, "2026-11-21T10:45:30", True),
        ("*/15 * * * *", 0.1, "2026-11-21T10:44:30", False),
        ("30 9-17/2 * * *", 0.5, "2026-11-21T11:45:00", True),
        ("30 9-17/2 * * *", 0.5, "2026-11-21T12:45:00", False),
        ("0 0 * * 7", 24, "2026-11-22T23:00:00", True),  # Sunday as 7
        ("0 0 * * 0", 24, "2026-11-22T23:00:00", True),  # and as 0
        ("0 0 1 * mon", 24, "2026-11-23T01:00:00", True),  # either day is enough: a Monday
        ("0 0 1 * mon", 24, "2026-12-01T01:00:00", True),  # … a first
        ("0 0 1 * mon", 24, "2026-11-24T01:00:00", False),
        ("0 0 29 feb *", 24, "2028-02-29T12:00:00", True),
        ("0 0 29 feb *", 24, "2027-03-01T12:00:00", False),
        ("0 0 * * *", 7 * 24, "2026-11-21T12:00:00", True),
    ],
)
def test_a_floor_holds_from_each_named_moment_for_its_duration(
    cron: str, hours: float, moment: str, is_on: bool
) -> None:
    assert scheduled_min_load([floor(cron, hours)], at(moment)) == (100.0 if is_on else 0.0)


def test_the_highest_floor_in_force_counts() -> None:
    both = [floor("0 8 * * *", 8, 50), floor("0 9 * * *", 1, 200)]
    assert scheduled_min_load(both, at("2026-11-21T08:30:00")) == 50
    assert scheduled_min_load(both, at("2026-11-21T09:30:00")) == 200
    assert scheduled_min_load(both, at("2026-11-21T10:30:00")) == 50
    assert scheduled_min_load([], 0.0) == 0


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 8 * *", "has 4 fields"),
        ("60 8 * * *", "minute: '60'"),
        ("0 24 * * *", "hour: '24'"),
        ("0 8 0 * *", "day of month: '0'"),
        ("0 8 * 13 *", "month: '13'"),
        ("0 8 * * 8", "weekday: '8'"),
        ("0 8 * * someday", "someday"),
        ("0 8 * * fri-mon", "runs backwards"),
        ("*/0 * * * *", "minute: '0'"),
        ("* * * * *\x00", "weekday"),
        ("-1 * * * *", "minute: ''"),
        ("1,,2 * * * *", "minute: ''"),
        ("0 0 31 2 *", "never happens"),
        ("\u0663 * * * *", "minute"),  # an Arabic digit
    ],
)
def test_a_bad_cron_is_refused_with_the_field_named(cron: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        parse_cron(cron)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("nan"), 8 * 86_400.0])
def test_a_bad_duration_is_refused(duration_s: float) -> None:
    with pytest.raises(ParameterError, match="duration_s"):
        check_schedule(FloorSchedule(cron="0 8 * * *", duration_s=duration_s, min_load=1))


@given(
    minute=st.integers(0, 59), hour=st.integers(0, 23), offset_s=st.integers(-86_400, 2 * 86_400)
)
def test_a_daily_floor_holds_exactly_a_duration_a_day(
    minute: int, hour: int, offset_s: int
) -> None:
    """Law: for a daily cron the floor holds iff the time since its moment is under the duration."""
    start = at("2026-11-21T00:00:00") + hour * 3600 + minute * 60
    is_on = offset_s % 86_400 < 5_000
    one = FloorSchedule(cron=f"{minute} {hour} * * *", duration_s=5_000, min_load=1)
    assert scheduled_min_load([one], start + offset_s) == (1 if is_on else 0)


BERLIN = "Europe/Berlin"


def exactly(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("moment", "holds"),
    [
        ("2026-01-12T06:59:59+00:00", False),  # 07:59 in Berlin's winter
        ("2026-01-12T07:00:00+00:00", True),
        ("2026-07-13T05:59:59+00:00", False),  # summer: an hour earlier in UTC
        ("2026-07-13T06:00:00+00:00", True),
        ("2026-07-13T16:00:00+00:00", False),  # ten hours later
    ],
)
def test_a_floor_follows_the_clock_of_its_time_zone(moment: str, holds: bool) -> None:
    day = FloorSchedule(cron="0 8 * * mon-fri", duration_s=36_000, min_load=5, timezone=BERLIN)
    check_schedule(day)
    assert is_in_force(day, exactly(moment)) is holds


def test_in_the_hour_that_is_skipped_a_floor_begins_an_hour_later_and_twice_in_none() -> None:
    night = FloorSchedule(cron="30 2 * * *", duration_s=600, min_load=5, timezone=BERLIN)
    assert is_in_force(night, exactly("2026-03-29T03:35:00+02:00"))  # 02:30 is not on this night
    assert is_in_force(night, exactly("2026-10-25T02:35:00+02:00"))
    assert not is_in_force(night, exactly("2026-10-25T02:35:00+01:00"))  # the same hour again


@pytest.mark.parametrize(
    ("zone", "hour", "noon"),
    [
        ("Europe/Berlin", 2, "2026-03-28T12:00:00+00:00"),
        ("Europe/Berlin", 2, "2026-10-24T12:00:00+00:00"),
        ("America/New_York", 1, "2026-03-07T12:00:00+00:00"),
        ("America/New_York", 1, "2026-10-31T12:00:00+00:00"),
        ("Australia/Lord_Howe", 1, "2026-04-03T12:00:00+00:00"),  # by half an hour
        ("Australia/Lord_Howe", 2, "2026-10-02T12:00:00+00:00"),
        ("America/Havana", 0, "2026-03-07T12:00:00+00:00"),  # the hour after midnight is skipped
    ],
)
def test_when_clocks_change_every_hour_has_its_floor_and_a_named_hour_one_a_day(
    zone: str, hour: int, noon: str
) -> None:
    always = FloorSchedule(cron="*/30 * * * *", duration_s=1_800, min_load=5, timezone=zone)
    daily = FloorSchedule(cron=f"30 {hour} * * *", duration_s=1_800, min_load=5, timezone=zone)
    check_schedule(daily)
    moments = [exactly(noon) + 1_800 * n for n in range(3 * 48)]
    assert [now for now in moments if not is_in_force(always, now)] == []
    held = [is_in_force(daily, now) for now in moments]
    assert sum(held) == 3


def test_a_wrong_time_zone_is_refused_with_the_nearest() -> None:
    wrong = FloorSchedule(cron="0 8 * * *", duration_s=60, min_load=5, timezone="Europe/Berln")
    with pytest.raises(ParameterError, match="did you mean Europe/Berlin"):
        check_schedule(wrong)


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("TZ=Europe/Berlin 0 8 * * 1-5", "UTC", "write it in the field timezone"),
        ("CRON_TZ=UTC 0 8 * * *", "UTC", "write it in the field timezone"),
        ("@daily", "UTC", "has 1 field; needed"),
        ("0 8 * * *", "utc", "did you mean UTC"),
        ("0 8 * * *", "gmt", "did you mean GMT"),
        ("0 8 * * *", "europe/berlin", "did you mean Europe/Berlin"),
    ],
)
def test_other_ways_to_write_a_schedule_are_refused_with_ours(
    cron: str, zone: str, words: str
) -> None:
    schedule = FloorSchedule(cron=cron, duration_s=3600.0, min_load=1.0, timezone=zone)
    with pytest.raises(ParameterError, match=words):
        check_schedule(schedule)
