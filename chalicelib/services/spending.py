"""What was spent on what, what the month will cost, and what a fixed fleet would have cost.

Days are summed from the minutes of the series. A minute in which nothing ran is not written: there
only the disks of stopped workers cost something, as much as in the last minute that was written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from chalicelib.core.endpoint_group import EndpointGroup, ParameterError
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.audit import autogroup_scope, endpoint_scope
from chalicelib.services.keys import Caller
from chalicelib.services.management import list_groups

Row = dict[str, object]
Minutes = Sequence[tuple[int, Mapping[str, float]]]

MICRO = 1e6
DAY_S = 86_400
PARTS = ("gpu_usd", "disk_usd", "bandwidth_usd")
BY = ("day", "autogroup")

AWS_USD_PER_GROUP_DAY = 0.016
"""Idle control plane: at most $5 a month for ten groups (design.md 9); requests come on top."""


def read_spend(
    ports: ApiPorts, caller: Caller, endpoint_id: int | None, days: int, by: str = "day"
) -> Row:
    """Spend by day and group or autogroup, the month's forecast, and what a fixed fleet costs.

    Raises:
        ParameterError: `by` is none of BY.
    """
    if by not in BY:
        raise ParameterError(f"by: {by!r}; allowed: {', '.join(BY)}")
    now = ports.clock.now()
    groups = [g for g in list_groups(ports, caller) if endpoint_id in (None, g.endpoint_id)]
    first, last = int(now // DAY_S - (days - 1)) * DAY_S // 60, int(now // 60)
    minutes = {
        group.endpoint_id: ports.series.read(endpoint_scope(group.endpoint_id), first, last)
        for group in groups
    }
    rows = [row for group in groups for row in _day_rows(group, minutes[group.endpoint_id], last)]
    if by == "autogroup":
        rows = [
            {**row, "autogroup_id": autogroup.autogroup_id}
            for group in groups
            for autogroup in ports.groups.list_autogroups(group.endpoint_id)
            for row in _day_rows(
                group, ports.series.read(autogroup_scope(autogroup.autogroup_id), first, last), last
            )
        ]
    return {
        "rows": rows,
        "aws_estimate_usd": AWS_USD_PER_GROUP_DAY * len(groups) * days,
        "month": _month(ports, groups, now),
        "fixed_fleet": fixed_fleet([m for rows in minutes.values() for m in rows]),
    }


def fixed_fleet(minutes: Minutes) -> Row | None:
    """The smallest fleet that never had fewer ready workers, always on, at the mean price paid.

    None while nothing was ready yet.
    """
    ready_minutes = sum(values.get("ready", 0.0) for _, values in minutes)
    if ready_minutes <= 0:
        return None
    by_minute: dict[int, float] = defaultdict(float)
    for minute, values in minutes:
        by_minute[minute] += values.get("ready", 0.0)
    spent = sum(values.get("usd_per_hour", 0.0) / 60 for _, values in minutes)
    n_workers = int(max(by_minute.values()))
    span = max(by_minute) - min(by_minute) + 1
    usd = n_workers * span * spent / ready_minutes
    return {"n_workers": n_workers, "usd": usd, "saved_share": 1.0 - spent / usd if usd else 0.0}


def spent_by_day(minutes: Minutes, until: int) -> dict[str, dict[str, float]]:
    """Dollars by UTC day and part, from a group's minutes up to the minute `until`.

    Bandwidth is the scaler's estimate: only Vast's bill knows it.
    """
    days: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(PARTS, 0.0))
    disk_rate = 0.0
    following = minutes[0][0] if minutes else until
    for minute, values in [*minutes, (until, {})]:
        for idle in range(following, minute):
            days[_day(idle)]["disk_usd"] += disk_rate
        if not values:
            break
        disk_rate = values.get("storage_usd_per_hour", 0.0) / 60
        parts = days[_day(minute)]
        parts["disk_usd"] += disk_rate
        parts["gpu_usd"] += max(0.0, values.get("usd_per_hour", 0.0) / 60 - disk_rate)
        parts["bandwidth_usd"] += values.get("bandwidth_estimate_usd", 0.0)
        following = minute + 1
    return dict(days)


def _day(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).date().isoformat()


def _day_rows(group: EndpointGroup, minutes: Minutes, until: int) -> list[Row]:
    return [
        {
            "day": day,
            "endpoint_id": group.endpoint_id,
            "endpoint_name": group.name,
            **parts,
            "total_usd": sum(parts.values()),
        }
        for day, parts in sorted(spent_by_day(minutes, until).items())
    ]


def _month(ports: ApiPorts, groups: Sequence[EndpointGroup], now: float) -> Row:
    """So far, and the forecast: the rest of the month at the month's mean rate."""
    account = ports.ledger.account()
    keys = {group.endpoint_id for group in groups}
    so_far = sum(usd for key, usd in account.spent_month_by_group.items() if key in keys) / MICRO
    today = datetime.fromtimestamp(now, UTC)
    begun = today.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = begun.replace(year=begun.year + begun.month // 12, month=begun.month % 12 + 1)
    passed = max(1.0, (today - begun).total_seconds())
    whole = (following - begun).total_seconds()
    return {
        "so_far_usd": so_far,
        "forecast_usd": so_far * whole / passed,
        "cap_usd": account.caps_microusd_per_month / MICRO,
    }
