"""What was spent on what, what the month will cost, and what a fixed fleet would have cost.

These are the likely dollars, from the scaler's tallies; the caps count the worst
(core/money/budget.py). One query a group (and megabyte of its answer) reads any span of days.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.core.money.account import DAY_S, HOUR_S, seconds_left_this_month
from chalicelib.core.money.budget import MICRO
from chalicelib.core.money.spend import (
    BIDS,
    DELETED_SCOPE,
    PARTS,
    Tally,
    WorkerSpend,
    spend_scope,
    total_usd,
    workers_of,
)
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.event_log import EventLog, SeriesLog
from chalicelib.services.keys import Caller
from chalicelib.services.owner.facts import read_memory
from chalicelib.services.owner.groups import list_groups, may_see

Row = dict[str, object]
_Line = tuple[Row, Mapping[str, float]]
"""What a row is about, and its parts."""

TREND_S = 7 * DAY_S
"""The forecast is the average of these last days."""

SUMS = (*PARTS, "n_unknown_downloads")
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

AWS_USD_PER_REQUEST = 2.14e-6
AWS_USD_PER_WORKER_S = 2.06 / (30 * DAY_S)
AWS_USD_PER_ACTIVE_S = 16.56 / (30 * DAY_S)
AWS_USD_PER_IDLE_S = 4.00 / (30 * DAY_S)
"""Estimates of docs/cost.md: requests; workers' reports; the busy scaler; all that idles."""


@dataclass(frozen=True, slots=True)
class _History:
    """A group, perhaps deleted since, and its tallies, oldest first."""

    group: Row  # what its rows say of it
    tallies: Sequence[Tally]

    def lasted_s(self, now: float) -> float:
        """From its first tally until now, or until its machines were gone."""
        ended_at = self.tallies[-1]["until"] if self.group["is_deleted"] else now
        return ended_at - self.tallies[0]["begun_at"]

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
        _History(group, read_tallies(ports.series, running, key, (read_from, now)))
        for key, group in _groups_since(ports, caller, read_from).items()
        if endpoint_id in (None, key)
    ]
    asked = [_History(one.group, one.since(first_at)) for one in histories]
    return {
        "rows": _bounded([row for one in asked for row in _rows(one, by)]),
        "aws_estimate_usd": aws_estimate(
            [t for one in asked for t in one.tallies],
            now - max(first_at, _begun_at(histories, now)),
        ),
        "month": _month(ports, histories, now),
        "fixed_fleet": _fixed_fleet(asked, now),
        "interruptible": _interruptible(asked),
    }


def _groups_since(ports: ApiPorts, caller: Caller, since: float) -> dict[int, Row]:
    """The groups within the key's scope, by id, those too that were deleted since then."""
    names = {key: (name, True) for key, name in deleted_groups(ports.events, since).items()}
    names |= {group.endpoint_id: (group.name, False) for group in list_groups(ports, caller)}
    return {
        key: {"endpoint_id": key, "endpoint_name": name, "is_deleted": is_deleted}
        for key, (name, is_deleted) in sorted(names.items())
        if may_see(caller, key)
    }


def _interruptible(histories: Sequence[_History]) -> Row | None:
    """What machines at bids cost, saved and broke; None without any."""
    tallies = [tally for one in histories for tally in one.tallies]
    usd, saved, n_taken, n_cut = (sum(tally.get(name, 0.0) for tally in tallies) for name in BIDS)
    if not usd:
        return None
    return {"gpu_usd": usd, "saved_usd": saved, "n_taken": int(n_taken), "n_cut": int(n_cut)}


def _fixed_fleet(histories: Sequence[_History], now: float) -> Row | None:
    """Each group's smallest fleet that never had fewer ready workers, always on, at the price paid.

    Each of its workers downloads once. None while nothing was ready yet.
    """
    n_workers, usd = 0, 0.0
    for one in histories:
        ready_s = sum(tally["ready_s"] for tally in one.tallies)
        if not ready_s:
            continue
        most = int(max(tally["max_ready"] for tally in one.tallies))
        once = _downloads(one.tallies)
        price = (total_usd(one.tallies) - sum(once)) / ready_s
        n_workers += most
        usd += most * (price * one.lasted_s(now) + sum(once) / max(1, len(once)))
    if not usd:
        return None
    spent = sum(total_usd(one.tallies) for one in histories)
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


def _begun_at(histories: Sequence[_History], now: float) -> float:
    """When the first group that is known began: a deployment costs nothing before it is there."""
    return min((one.tallies[0]["begun_at"] for one in histories if one.tallies), default=now)


def _rows(history: _History, by: str) -> list[_Line]:
    """Sums by day and what `by` names; a worker's days are one row."""
    sums: dict[tuple[object, ...], dict[str, float]] = defaultdict(lambda: dict.fromkeys(SUMS, 0.0))
    about: dict[tuple[object, ...], Row] = {}
    for tally in history.tallies:
        day = datetime.fromtimestamp(tally["begun_at"], UTC).date().isoformat()
        for worker in workers_of(tally):
            what = BY[by](worker)
            key = tuple(what.values()) if by == "worker" else (day, *what.values())
            row = about.setdefault(key, {"day": day, **what})
            first = str(row["day"]).partition("/")[0]
            row["day"] = day if first == day else f"{first}/{day}"
            for part in SUMS:
                sums[key][part] += getattr(worker, part)
    return [({**about[key], **history.group}, parts) for key, parts in sums.items()]


def _bounded(lines: Sequence[_Line]) -> list[Row]:
    """At most MAX_ROWS, and one for the sum of those that cost least."""
    if len(lines) > MAX_ROWS:
        lines = sorted(lines, key=lambda line: _total(line[1]), reverse=True)
        rest = [parts for _, parts in lines[MAX_ROWS:]]
        others = {name: sum(parts[name] for parts in rest) for name in SUMS}
        lines = [*lines[:MAX_ROWS], ({"endpoint_name": f"{len(rest)} more"}, others)]
    return [
        {
            **what,
            **{name: parts[name] for name in PARTS},
            "n_unknown_downloads": int(parts["n_unknown_downloads"]),
            "total_usd": _total(parts),
        }
        for what, parts in lines
    ]


def _total(parts: Mapping[str, float]) -> float:
    return sum(parts[name] for name in PARTS)


def _month(ports: ApiPorts, histories: Sequence[_History], now: float) -> Row:
    """So far; the forecast: the rest of the month as the last seven days, or what is known of them.

    None before an hour is known: what is rented to learn the hardware says nothing of a month.
    Downloads come in bursts: those of the first hours are taken for a day's.
    `counted_usd` is what the caps count: image downloads and doubt at their worst.
    """
    account = ports.ledger.account()
    begun = _month_begins(now)
    so_far = sum(total_usd(one.since(begun)) for one in histories)
    lately = [tally for one in histories for tally in one.since(now - TREND_S)]
    since_s = now - min((tally["begun_at"] for tally in lately), default=now)
    once_usd = sum(_downloads(lately))
    forecast = None
    if since_s >= HOUR_S or not lately:
        rate = (total_usd(lately) - once_usd) / max(HOUR_S, since_s)
        rate += once_usd / max(DAY_S, since_s)
        forecast = so_far + rate * seconds_left_this_month(now)
    keys = {one.group["endpoint_id"] for one in histories}
    counted = sum(usd for key, usd in account.spent_month_by_group.items() if key in keys)
    return {
        "so_far_usd": so_far,
        "forecast_usd": forecast,
        "counted_usd": counted / MICRO,
        "cap_usd": account.caps_microusd_per_month / MICRO,
    }


def _downloads(tallies: Sequence[Tally]) -> Sequence[float]:
    """What each worker paid once for image and model, where that is known."""
    found = [worker.download_usd for tally in tallies for worker in workers_of(tally)]
    return [usd for usd in found if usd > 0]


def _month_begins(now: float) -> float:
    today = datetime.fromtimestamp(now, UTC)
    return today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


MAX_DELETED = 1_000  # of one answer, the newest


def read_tallies(
    series: SeriesLog, running: Mapping[str, Tally], endpoint_id: int, span: tuple[float, float]
) -> Sequence[Tally]:
    """A group's tallies that began within a span of time, oldest first; one query."""
    first, last = int(span[0] // 60), int(span[1] // 60)
    written = dict(series.read(spend_scope(endpoint_id), first, last))
    newest = running.get(str(endpoint_id))
    if newest and newest["begun_at"] >= span[0]:
        written[int(newest["begun_at"] // 60)] = newest
    return [written[minute] for minute in sorted(written)]


def deleted_groups(events: EventLog, since: float) -> Mapping[int, str]:
    """The names, by id, of the groups that were deleted since then."""
    found = [event.facts for event in events.tail(DELETED_SCOPE, limit=MAX_DELETED, since=since)]
    return {int(str(one["endpoint_id"])): str(one["endpoint_name"]) for one in found}
