"""What was spent on what, what the month will cost, and what a fixed fleet would have cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from chalicelib.core.endpoint_group import EndpointGroup
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.audit import endpoint_scope
from chalicelib.services.keys import Caller
from chalicelib.services.management import list_groups

Row = dict[str, object]
Minutes = Sequence[tuple[int, Mapping[str, float]]]

MICRO = 1e6
DAY_S = 86_400
PARTS = ("gpu_usd", "disk_usd", "bandwidth_usd")

AWS_USD_PER_GROUP_DAY = 0.016
"""Idle control plane: at most $5 a month for ten groups (design.md 9); requests come on top."""


def read_spend(ports: ApiPorts, caller: Caller, endpoint_id: int | None, days: int) -> Row:
    """Spend by day and group, the month's forecast, and the comparison with a fixed fleet."""
    now = ports.clock.now()
    groups = [g for g in list_groups(ports, caller) if endpoint_id in (None, g.endpoint_id)]
    first = int(now // DAY_S - (days - 1)) * DAY_S // 60
    minutes = {
        group.endpoint_id: ports.series.read(
            endpoint_scope(group.endpoint_id), first, int(now // 60)
        )
        for group in groups
    }
    return {
        "rows": [row for group in groups for row in _day_rows(group, minutes[group.endpoint_id])],
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
    spent = sum(_total(values) for _, values in minutes)
    running = sum(values.get("gpu_usd", 0.0) for _, values in minutes)
    n_workers = int(max(by_minute.values()))
    span = max(by_minute) - min(by_minute) + 1
    usd = n_workers * span * running / ready_minutes
    return {
        "n_workers": n_workers,
        "usd": usd,
        "saved_share": 1.0 - spent / usd if usd > 0 else 0.0,
    }


def _day_rows(group: EndpointGroup, minutes: Minutes) -> list[Row]:
    days: dict[str, dict[str, float]] = {}
    for minute, values in minutes:
        day = datetime.fromtimestamp(minute * 60, UTC).date().isoformat()
        parts = days.setdefault(day, dict.fromkeys(PARTS, 0.0))
        for part in PARTS:
            parts[part] += values.get(part, 0.0)
    return [
        {
            "day": day,
            "endpoint_id": group.endpoint_id,
            "endpoint_name": group.name,
            **parts,
            "total_usd": sum(parts.values()),
        }
        for day, parts in sorted(days.items())
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


def _total(values: Mapping[str, float]) -> float:
    return sum(values.get(part, 0.0) for part in PARTS)
