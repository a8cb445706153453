"""The money guard: what may be committed, and when to stop, on worst cases; in micro-dollars."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from chalicelib.core.fleet.intents import RentIntent
from chalicelib.core.money.account import (
    Account,
    roll_over,
    seconds_left_this_month,
    seconds_left_today,
)

RUNWAY_S = 900.0
"""How long it takes at worst to drain and return everything: the money that is always kept back."""

RENTAL_HORIZON_S = 3600.0
"""A rental must be affordable for this long; longer than the runway, so that caps do not flap."""

BANDWIDTH_GB_PER_HOUR = 1.0
"""Pessimistic traffic of a running worker; what exceeds it is not bounded: reliability.md."""

MICRO = 1_000_000  # micro-dollars in a dollar


class Cap(StrEnum):
    """What the guard refuses by. The values are stored, logged and shown."""

    PANICKING = "panicking"
    FROZEN = "frozen"
    MAX_WORKERS = "max_workers"
    # money
    IDLE_DAY = "cap_idle_day"
    HOUR = "cap_hour"
    DAY = "cap_day"
    MONTH = "cap_month"
    OWN_HOUR = "group_cap_hour"  # the group's own
    OWN_DAY = "group_cap_day"
    OWN_MONTH = "group_cap_month"


MONEY_CAPS = frozenset(Cap) - {Cap.PANICKING, Cap.FROZEN, Cap.MAX_WORKERS}
"""Caps on dollars: what an owner raises, or waits out."""


class Period(StrEnum):
    """What a cap on dollars is for."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupCaps:
    """A group's own caps; None = only the account's hold."""

    max_workers: int
    microusd_per_hour: int | None = None
    microusd_per_day: int | None = None
    microusd_per_month: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """What a rental, or the start of a stopped worker (no new worker), would add."""

    endpoint_id: int
    microusd_per_hour: int
    n_workers: int
    once_microusd: int = 0


class GuardRefusedError(Exception):
    """The money guard refuses; `cap` names the cap that is reached."""

    def __init__(self, cap: str) -> None:
        super().__init__(f"cap reached: {cap}")
        self.cap = cap


def ask_of(intent: RentIntent) -> Ask:
    """What an intent reserves, and releases when it becomes void."""
    return Ask(
        endpoint_id=intent.endpoint_id,
        microusd_per_hour=intent.reserved_microusd_per_hour,
        n_workers=1,
        once_microusd=intent.reserved_once_microusd,
    )


def to_micro(usd: float) -> int:
    """Whole micro-dollars, rounded up: doubt counts against us."""
    return math.ceil(round(usd * MICRO, 3))


def running_microusd_per_hour(
    usd_per_hour: float, inet_up_usd_per_gb: float = 0.0, inet_down_usd_per_gb: float = 0.0
) -> int:
    """Worst case of a running worker: GPU, disk and pessimistic bandwidth."""
    bandwidth = BANDWIDTH_GB_PER_HOUR * (inet_up_usd_per_gb + inet_down_usd_per_gb)
    return to_micro(usd_per_hour + bandwidth)


def refusal(account: Account, ask: Ask, caps: GroupCaps, now: float) -> str:
    """Why this must not be committed: the name of the cap that is reached, or ""."""
    account = roll_over(account, now)
    workers = account.workers_by_group.get(ask.endpoint_id, 0)
    is_idle_spent = account.idle_today_microusd >= account.caps_idle_microusd_per_day
    blocks = (
        (account.is_panicking, Cap.PANICKING),
        (ask.n_workers and account.is_frozen, Cap.FROZEN),
        (ask.n_workers and workers + ask.n_workers > caps.max_workers, Cap.MAX_WORKERS),
        (ask.n_workers and is_idle_spent, Cap.IDLE_DAY),
    )
    for holds, name in blocks:
        if holds:
            return name
    for limit in limits_of(account, ask.endpoint_id, caps, now):
        committed = limit.committed + ask.microusd_per_hour
        if limit.spent + ask.once_microusd + committed * limit.horizon_s / 3600 > limit.cap:
            return limit.name
    return ""


def free_microusd_per_hour(
    account: Account, endpoint_id: int, caps: GroupCaps, now: float
) -> tuple[int, str]:
    """(what may still be committed per hour, the cap that bounds it)."""
    account = roll_over(account, now)
    free = [
        (
            math.floor((limit.cap - limit.spent) * 3600 / limit.horizon_s) - limit.committed,
            limit.name,
        )
        for limit in limits_of(account, endpoint_id, caps, now)
    ]
    amount, name = min(free)
    return max(0, amount), name


@dataclass(frozen=True, slots=True)
class Limit:
    """A cap and what counts against it, in micro-dollars; `committed` by the hour.

    `horizon_s`: for how long commitments must be affordable beyond what is `spent`.
    """

    name: Cap
    period: Period
    is_own: bool  # the group's, not the account's
    cap: int
    spent: int
    committed: int
    horizon_s: float

    @property
    def used(self) -> int:
        """What the cap is compared with: commitments by the hour, spend of the day or month."""
        return self.committed if self.period is Period.HOUR else self.spent


def limits_of(account: Account, endpoint_id: int, caps: GroupCaps, now: float) -> list[Limit]:
    """Every cap that holds for a group: the account's, and its own."""
    day_s = min(RENTAL_HORIZON_S, seconds_left_today(now))
    month_s = min(RENTAL_HORIZON_S, seconds_left_this_month(now))
    total = account.committed_microusd_per_hour
    own = account.committed_by_group.get(endpoint_id, 0)
    own_today = account.spent_today_by_group.get(endpoint_id, 0)
    own_month = account.spent_month_by_group.get(endpoint_id, 0)
    today, month = account.spent_today_microusd, account.spent_month_microusd
    hour_s = 3600.0
    account_rows = (
        (Cap.HOUR, Period.HOUR, account.caps_microusd_per_hour, 0, hour_s),
        (Cap.DAY, Period.DAY, account.caps_microusd_per_day, today, day_s),
        (Cap.MONTH, Period.MONTH, account.caps_microusd_per_month, month, month_s),
    )
    own_rows = (
        (Cap.OWN_HOUR, Period.HOUR, caps.microusd_per_hour, 0, hour_s),
        (Cap.OWN_DAY, Period.DAY, caps.microusd_per_day, own_today, day_s),
        (Cap.OWN_MONTH, Period.MONTH, caps.microusd_per_month, own_month, month_s),
    )
    return [
        Limit(name, period, is_own, cap, spent, committed, max(1.0, horizon_s))
        for is_own, committed, rows in ((False, total, account_rows), (True, own, own_rows))
        for name, period, cap, spent, horizon_s in rows
        if cap is not None
    ]


def over_microusd_per_hour(
    account: Account, endpoint_id: int, caps: GroupCaps, name: str, now: float
) -> int | None:
    """How much too much is committed under the hourly cap of this name; None for other caps."""
    for limit in limits_of(account, endpoint_id, caps, now):
        if limit.name == name and limit.period is Period.HOUR:
            return limit.committed - limit.cap
    return None


def must_wind_down(account: Account, endpoint_id: int, caps: GroupCaps, now: float) -> str:
    """The cap that would be passed unless this group's GPUs stop now, or "".

    Spent so far, all commitments for the time a wind-down takes, and the storage of what would then
    be stopped until the period ends: together they must stay below the cap.
    """
    account = roll_over(account, now)
    storage_total = sum(account.storage_by_group.values())
    storage_own = account.storage_by_group.get(endpoint_id, 0)
    left = {Period.DAY: seconds_left_today(now), Period.MONTH: seconds_left_this_month(now)}
    for limit in limits_of(account, endpoint_id, caps, now):
        period_s = left.get(limit.period)
        if period_s is None:
            exposure = float(limit.committed)
        else:
            storage = storage_own if limit.is_own else storage_total
            runway_s = min(RUNWAY_S, period_s)
            exposure = (
                limit.spent
                + limit.committed * runway_s / 3600
                + storage * (period_s - runway_s) / 3600
            )
        if exposure > limit.cap:
            return limit.name
    return ""


def with_reservation(account: Account, ask: Ask, caps: GroupCaps, now: float) -> Account:
    """The account after an ask, if every cap holds.

    Raises:
        GuardRefusedError: with the cap that would be exceeded.
    """
    problem = refusal(account, ask, caps, now)
    if problem:
        raise GuardRefusedError(problem)
    account = roll_over(account, now)
    return replace(
        account,
        committed_by_group=_plus(
            account.committed_by_group, ask.endpoint_id, ask.microusd_per_hour
        ),
        workers_by_group=_plus(account.workers_by_group, ask.endpoint_id, ask.n_workers),
        spent_today_by_group=_plus(
            account.spent_today_by_group, ask.endpoint_id, ask.once_microusd
        ),
        spent_month_by_group=_plus(
            account.spent_month_by_group, ask.endpoint_id, ask.once_microusd
        ),
    )


def with_release(account: Account, ask: Ask) -> Account:
    """The account after a rental that surely did not happen."""
    return replace(
        account,
        committed_by_group=_plus(
            account.committed_by_group, ask.endpoint_id, -ask.microusd_per_hour
        ),
        workers_by_group=_plus(account.workers_by_group, ask.endpoint_id, -ask.n_workers),
        spent_today_by_group=_plus(
            account.spent_today_by_group, ask.endpoint_id, -ask.once_microusd
        ),
        spent_month_by_group=_plus(
            account.spent_month_by_group, ask.endpoint_id, -ask.once_microusd
        ),
    )


def _plus(sums: Mapping[int, int], key: int, amount: int) -> dict[int, int]:
    changed = dict(sums)
    changed[key] = max(0, changed.get(key, 0) + amount)
    if not changed[key]:
        del changed[key]
    return changed
