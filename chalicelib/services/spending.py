"""What was spent on what, what the month will cost, and what a fixed fleet would have cost.

These are the likely dollars, from the scaler's tallies; the caps count the worst (core/budget.py).
One query a group (and megabyte of its answer) reads any span of days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.core.account import seconds_left_this_month
from chalicelib.core.endpoint_group import EndpointGroup, ParameterError
from chalicelib.core.spend import DAY_S, PARTS, Tally, WorkerSpend, total_usd, workers_of
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.keys import Caller
from chalicelib.services.management import list_groups
from chalicelib.services.observability import read_memory
from chalicelib.services.spend_log import read_tallies

Row = dict[str, object]
_Line = tuple[Row, Mapping[str, float]]
"""What a row is about, and its parts."""

MICRO = 1e6
HOUR_S = 3_600.0
TREND_S = 7 * DAY_S
"""The forecast goes on as these last days went."""

MAX_ROWS = 5_000
BY: Mapping[str, Callable[[WorkerSpend], Row]] = {
    "day": lambda one: {},
    "autogroup": lambda one: {"autogroup_id": one.autogroup_id},
    "worker": lambda one: {
        "autogroup_id": one.autogroup_id,
        "instance_id": one.instance_id,
        "gpu_type": one.gpu_type,
    },
}
"""What each row is about besides its day and group."""

AWS_USD_PER_REQUEST = 1.92e-6
AWS_USD_PER_WORKER_S = 2.06 / (30 * DAY_S)
AWS_USD_PER_ACTIVE_S = 16.56 / (30 * DAY_S)
AWS_USD_PER_IDLE_S = 3.50 / (30 * DAY_S)
"""Estimates of docs/cost.md: requests; workers' reports; the busy scaler; all that idles."""


@dataclass(frozen=True, slots=True)
class _History:
    """A group and its tallies, oldest first."""

    group: EndpointGroup
    tallies: Sequence[Tally]

    def since(self, at: float) -> Sequence[Tally]:
        """The tallies of the days from `at` on."""
        return [tally for tally in self.tallies if tally["begun_at"] >= at]


def read_spend(
    ports: ApiPorts, caller: Caller, endpoint_id: int | None, days: int, by: str = "day"
) -> Row:
    """Spend by day and group, autogroup or worker; the month's forecast; what a fixed fleet costs.

    Raises:
        ParameterError: `by` is none of BY.
    """
    if by not in BY:
        raise ParameterError(f"by: {by!r}; allowed: {', '.join(BY)}")
    now = ports.clock.now()
    first_at = (now // DAY_S - (days - 1)) * DAY_S
    read_from = min(first_at, _month_begins(now), now - TREND_S)
    running = read_memory(ports).spend
    histories = [
        _History(group, read_tallies(ports.series, running, group.endpoint_id, (read_from, now)))
        for group in list_groups(ports, caller)
        if endpoint_id in (None, group.endpoint_id)
    ]
    asked = [_History(one.group, one.since(first_at)) for one in histories]
    return {
        "rows": _bounded([row for one in asked for row in _rows(one, by)]),
        "aws_estimate_usd": aws_estimate([t for one in asked for t in one.tallies], now - first_at),
        "month": _month(ports, histories, now),
        "fixed_fleet": fixed_fleet([one.tallies for one in asked], now),
    }


def fixed_fleet(histories: Sequence[Sequence[Tally]], now: float) -> Row | None:
    """Each group's smallest fleet that never had fewer ready workers, always on, at the price paid.

    None while nothing was ready yet.
    """
    n_workers, usd = 0, 0.0
    for tallies in histories:
        ready_s = sum(tally["ready_s"] for tally in tallies)
        if not ready_s:
            continue
        most = int(max(tally["max_ready"] for tally in tallies))
        price = total_usd(tallies) / ready_s
        n_workers += most
        usd += most * price * (now - tallies[0]["begun_at"])
    if not usd:
        return None
    spent = sum(total_usd(tallies) for tallies in histories)
    return {"n_workers": n_workers, "usd": usd, "saved_share": 1.0 - spent / usd}


def aws_estimate(tallies: Sequence[Tally], elapsed_s: float) -> float:
    """What AWS charges for Ballast itself, about; its own bill is exact."""
    rates = {
        "n_requests": AWS_USD_PER_REQUEST,
        "worker_s": AWS_USD_PER_WORKER_S,
        "active_s": AWS_USD_PER_ACTIVE_S,
    }
    used = sum(rate * tally.get(name, 0.0) for tally in tallies for name, rate in rates.items())
    return used + AWS_USD_PER_IDLE_S * elapsed_s


def _rows(history: _History, by: str) -> list[_Line]:
    """Sums by day and what `by` names; a worker's days are one row."""
    sums: dict[tuple[object, ...], dict[str, float]] = defaultdict(
        lambda: dict.fromkeys(PARTS, 0.0)
    )
    about: dict[tuple[object, ...], Row] = {}
    for tally in history.tallies:
        day = datetime.fromtimestamp(tally["begun_at"], UTC).date().isoformat()
        for worker in workers_of(tally):
            what = BY[by](worker)
            key = tuple(what.values()) if by == "worker" else (day, *what.values())
            row = about.setdefault(key, {"day": day, **what})
            first = str(row["day"]).partition("/")[0]
            row["day"] = day if first == day else f"{first}/{day}"
            for part in PARTS:
                sums[key][part] += getattr(worker, part)
    identity = {"endpoint_id": history.group.endpoint_id, "endpoint_name": history.group.name}
    return [({**about[key], **identity}, parts) for key, parts in sums.items()]


def _bounded(lines: Sequence[_Line]) -> list[Row]:
    """At most MAX_ROWS, and one for the sum of those that cost least."""
    if len(lines) > MAX_ROWS:
        lines = sorted(lines, key=lambda line: sum(line[1].values()), reverse=True)
        rest = [parts for _, parts in lines[MAX_ROWS:]]
        others = {name: sum(parts[name] for parts in rest) for name in PARTS}
        lines = [*lines[:MAX_ROWS], ({"endpoint_name": f"{len(rest)} more"}, others)]
    return [{**what, **parts, "total_usd": sum(parts.values())} for what, parts in lines]


def _month(ports: ApiPorts, histories: Sequence[_History], now: float) -> Row:
    """So far; the forecast: the rest of the month as the last seven days, or what is known of them.

    `counted_usd` is what the caps count: also image downloads and doubt at their worst.
    """
    account = ports.ledger.account()
    begun = _month_begins(now)
    so_far = sum(total_usd(one.since(begun)) for one in histories)
    lately = [tally for one in histories for tally in one.since(now - TREND_S)]
    since = min((tally["begun_at"] for tally in lately), default=now)
    rate = total_usd(lately) / max(HOUR_S, now - since)
    keys = {one.group.endpoint_id for one in histories}
    counted = sum(usd for key, usd in account.spent_month_by_group.items() if key in keys)
    return {
        "so_far_usd": so_far,
        "forecast_usd": so_far + rate * seconds_left_this_month(now),
        "counted_usd": counted / MICRO,
        "cap_usd": account.caps_microusd_per_month / MICRO,
    }


def _month_begins(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    return today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
