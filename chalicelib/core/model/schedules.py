"""Schedules: floors on `min_load` by time of day, written as cron in UTC or a time zone.

Fields are `minute hour day-of-month month day-of-week`, each `*`, a number, a range `a-b`, a step
`*/n` or `a-b/n`, or a list of these; months and weekdays may be names; Sunday is 0 or 7. As in
cron(8), when both days are restricted either of them is enough. Where clocks go back a floor begins
at the first of the two hours; one that begins in the hour that is skipped begins an hour later.
"""

from __future__ import annotations

import calendar
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache

# With botocore, so in the Lambda; its own copy of the rules, as a host may have none.
from dateutil.tz import datetime_ambiguous, resolve_imaginary
from dateutil.zoneinfo import get_zonefile_instance

from chalicelib.core.model.endpoint_group import (
    MAX_LOAD,
    FloorSchedule,
    ParameterError,
    check_number,
)
from chalicelib.core.words import count

MAX_DURATION_S = 7 * 86_400.0  # chosen: a floor that lasts longer than a week is no schedule

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: n for n, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
# 2024 has a February of 29 days.
_LONGEST_MONTH = {month: calendar.monthrange(2024, month)[1] for month in range(1, 13)}


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed cron text; weekdays count from Sunday = 0."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    needs_both_days: bool  # False: both day fields are restricted, so either is enough

    def names_day(self, day: datetime) -> bool:
        """Whether it fires at some time on this day."""
        if day.month not in self.months:
            return False
        in_month = day.day in self.days
        in_week = day.isoweekday() % 7 in self.weekdays
        return (in_month and in_week) if self.needs_both_days else (in_month or in_week)


def parse_cron(text: str) -> Cron:
    """Parse five cron fields.

    Raises:
        ParameterError: naming the field and what is allowed there, or that it never fires.
    """
    fields = text.split()
    if any("TZ=" in field for field in fields):
        raise ParameterError(f"cron: {text!r} names a time zone; write it in the field timezone")
    if len(fields) != 5:
        raise ParameterError(
            f"cron: {text!r} has {count(len(fields), 'field')}; "
            "needed: minute hour day month weekday, such as '0 8 * * mon-fri'"
        )
    weekdays = _parse_field("weekday", fields[4], 0, 7, _WEEKDAYS)
    cron = Cron(
        minutes=_parse_field("minute", fields[0], 0, 59, {}),
        hours=_parse_field("hour", fields[1], 0, 23, {}),
        days=_parse_field("day of month", fields[2], 1, 31, {}),
        months=_parse_field("month", fields[3], 1, 12, _MONTHS),
        weekdays=frozenset(day % 7 for day in weekdays),
        needs_both_days=fields[2].startswith("*") or fields[4].startswith("*"),
    )
    if cron.needs_both_days and min(cron.days) > max(_LONGEST_MONTH[m] for m in cron.months):
        raise ParameterError(f"cron: {text!r} never happens; no such day in these months")
    return cron


def check_schedule(schedule: FloorSchedule) -> None:
    """Refuse a schedule that cannot be followed.

    Raises:
        ParameterError: for a bad cron text, time zone, duration (above 0, at most 7 days) or load.
    """
    parse_cron(schedule.cron)
    zone_of(schedule.timezone)
    check_number("duration_s", schedule.duration_s, 0, MAX_DURATION_S, low_open=True)
    check_number("schedule min_load", schedule.min_load, 0, MAX_LOAD)


def scheduled_min_load(schedules: Sequence[FloorSchedule], now: float) -> float:
    """The highest floor in force at `now` (load per second); 0 if none is.

    To have capacity ready when a floor begins, ask for `now` plus the time a worker takes to start.
    """
    return max((one.min_load for one in schedules if is_in_force(one, now)), default=0.0)


def is_in_force(schedule: FloorSchedule, now: float) -> bool:
    """Whether the schedule fired within the last `duration_s` seconds, this second included."""
    cron, zone = parse_cron(schedule.cron), zone_of(schedule.timezone)
    earliest = now - schedule.duration_s
    day = datetime.fromtimestamp(now, zone).replace(hour=23, minute=59, second=0, microsecond=0)
    first = datetime.fromtimestamp(earliest, zone).date()
    while day.date() >= first:
        if cron.names_day(day):
            fired = _last_time_on(cron, day, now)
            if fired is not None:
                return fired > earliest
        day -= timedelta(days=1)
    return False


@cache
def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name; the same rules on every machine.

    Raises:
        ParameterError: there is none of that name.
    """
    if name == "UTC":
        return UTC
    zones = get_zonefile_instance().zones
    found: tzinfo | None = zones.get(name)
    if found is None:
        known = ("UTC", *zones)
        near = [one for one in known if one.lower() == name.lower()]
        near = near or difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParameterError(
            f"timezone: {name[:40]!r} is no time zone; write UTC, or such as Europe/Berlin{hint}"
        )
    return found


def _last_time_on(cron: Cron, day: datetime, until: float) -> float | None:
    """In the hour that a clock repeats, a named hour fires once, and what names every hour twice.

    So does cron itself (cron(8) of OpenBSD and Debian, "local time changes").
    """
    folds = (1, 0) if len(cron.hours) == 24 else (0,)
    local = datetime.fromtimestamp(until, day.tzinfo)
    latest = local.hour if local.date() == day.date() else 23
    hours = [hour for hour in sorted(cron.hours, reverse=True) if hour <= latest]
    for hour, fold in ((one, f) for one in hours for f in folds):
        for minute in sorted(cron.minutes, reverse=True):
            moment = day.replace(hour=hour, minute=minute, fold=0)
            if fold and not datetime_ambiguous(moment):
                continue
            fired: float = resolve_imaginary(moment.replace(fold=fold)).timestamp()
            if fired <= until:
                return fired
    return None


def _parse_field(
    name: str, text: str, low: int, high: int, names: Mapping[str, int]
) -> frozenset[int]:
    values: set[int] = set()
    for part in text.lower().split(","):
        span, _, step_text = part.partition("/")
        step = _parse_number(name, step_text, 1, high, {}) if "/" in part else 1
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first_text, _, last_text = span.partition("-")
            first = _parse_number(name, first_text, low, high, names)
            last = _parse_number(name, last_text, low, high, names)
        else:
            first = _parse_number(name, span, low, high, names)
            last = high if "/" in part else first
        if first > last:
            raise ParameterError(f"cron {name}: {part!r} runs backwards; write two ranges")
        values.update(range(first, last + 1, step))
    return frozenset(values)


def _parse_number(name: str, text: str, low: int, high: int, names: Mapping[str, int]) -> int:
    if text in names:
        return names[text]
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and low <= int(text) <= high):
        allowed = f"{low} to {high}" + (f" or {', '.join(names)}" if names else "")
        raise ParameterError(f"cron {name}: {text!r} is not allowed; allowed: {allowed}")
    return int(text)
