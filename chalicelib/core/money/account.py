"""The account: the one item that holds lease, caps, commitments and spend. Money in micro-dollars.

Every function gives a new `Account` and does no IO, so the database adapter and the fake apply the
very same rules under their own compare-and-set.
"""

from __future__ import annotations

import math
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from chalicelib.core.fleet.pacing import moment_of
from chalicelib.core.moments import CLOCK_SLIP_S, is_ahead, passed

HOUR_S = 3_600.0  # 60 minutes
DAY_S = 86_400.0  # of UTC, which has no other days
JUMP_KNOWN_S = HOUR_S
"""A jump of the clock that lasts longer, by the clock after it, was no mistake of a moment."""
SCHEMA_VERSION = 1
"""Of everything the scaler writes; code that is older than the account item stands down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Booked:
    """What is counted as spent, until when; micro-dollars. `kept_at`: when the clock jumped."""

    kept_at: float
    booked_at: float
    day: str
    month: str
    spent_today_by_group: Mapping[int, int] = field(default_factory=dict)
    spent_month_by_group: Mapping[int, int] = field(default_factory=dict)
    idle_today_microusd: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """The account item. Money in micro-dollars, per hour where it says so."""

    caps_microusd_per_hour: int = 5_000_000
    caps_microusd_per_day: int = 50_000_000
    caps_microusd_per_month: int = 500_000_000
    caps_idle_microusd_per_day: int = 10_000_000  # spend that serves nobody
    committed_by_group: Mapping[int, int] = field(default_factory=dict)
    storage_by_group: Mapping[int, int] = field(default_factory=dict)  # once all are stopped
    workers_by_group: Mapping[int, int] = field(default_factory=dict)  # open intents included
    day: str = ""  # UTC, "2026-11-21"
    month: str = ""
    spent_today_by_group: Mapping[int, int] = field(default_factory=dict)
    spent_month_by_group: Mapping[int, int] = field(default_factory=dict)
    idle_today_microusd: int = 0
    booked_at: float = 0.0  # until when spend is booked; 0 = never
    before_jump: Booked | None = None  # of the clock, or an outage: taken back if it was the clock
    is_frozen: bool = False
    is_panicking: bool = False
    lease_owner: str = ""
    lease_until: float = 0.0
    fence: int = 0
    next_call_at: Mapping[str, float] = field(default_factory=dict)  # pacing, by verb
    public_url: str = ""  # of this deployment: what workers report to
    n_lanes: int = 0  # of the edge: paths that workers alone know; 0: they report to the root path
    schema_version: int = SCHEMA_VERSION
    version: int = 0  # +1 at every write; guards concurrent ones
    unknown: Mapping[str, object] = field(default_factory=dict, compare=False)  # another version's
    is_foreign: bool = False  # never stored: what guards the money cannot be read by this version

    @property
    def why_not_ours(self) -> str:
        """Why this version may not write it; empty if it may."""
        if self.is_foreign:
            return "another version of Ballast wrote the account item, and this one cannot read it"
        if self.schema_version > SCHEMA_VERSION:
            return "newer code than this wrote the account item"
        return ""

    @property
    def committed_microusd_per_hour(self) -> int:
        """Over all groups."""
        return sum(self.committed_by_group.values())

    @property
    def spent_today_microusd(self) -> int:
        """Over all groups."""
        return sum(self.spent_today_by_group.values())

    @property
    def spent_month_microusd(self) -> int:
        """Over all groups."""
        return sum(self.spent_month_by_group.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundBooking:
    """What a round found: commitments computed anew, and the spend since the last booking.

    `committed_by_group` None: the inventory is in doubt, commitments stay as they are.
    """

    booked_until: float
    spent_by_group: Mapping[int, int]
    idle_microusd: int = 0
    committed_by_group: Mapping[int, int] | None = None
    storage_by_group: Mapping[int, int] = field(default_factory=dict)
    workers_by_group: Mapping[int, int] = field(default_factory=dict)


def with_lease(account: Account, owner: str, now: float, duration_s: float) -> Account | None:
    """The account with a new fence for this owner, or None while somebody else holds the lease.

    Code older than what wrote the account stands down; newer code raises the version.
    """
    is_held = now < account.lease_until <= now + duration_s + CLOCK_SLIP_S
    if is_held or account.why_not_ours:
        return None
    return replace(
        account,
        lease_owner=owner,
        lease_until=now + duration_s,
        fence=account.fence + 1,
        schema_version=SCHEMA_VERSION,
    )


class CapsChangedError(Exception):
    """The account's caps are not those that the change was decided on."""


def with_caps(
    account: Account, caps: Mapping[str, int], expected: Mapping[str, int] | None = None
) -> Account:
    """The account under other caps, by field name; with `expected` only if those are its caps.

    Raises:
        ValueError: for a name that is no cap, or a negative amount.
        CapsChangedError: a cap is not what was expected.
    """
    for name, amount in (expected or {}).items():
        if getattr(account, name) != amount:
            raise CapsChangedError("the account's caps were changed since they were read")
    for name, amount in caps.items():
        if name not in _CAP_NAMES:
            raise ValueError(f"{name}: no such cap; allowed: {', '.join(_CAP_NAMES)}")
        if amount < 0:
            raise ValueError(f"{name}: {amount!r} is negative")
    changes: dict[str, Any] = dict(caps)
    return replace(account, **changes)


_CAP_NAMES = (
    "caps_microusd_per_hour",
    "caps_microusd_per_day",
    "caps_microusd_per_month",
    "caps_idle_microusd_per_day",
)


def with_turns(account: Account, next_call_at: Mapping[str, float]) -> Account:
    """The account with verbs' next turns; one that is known to be later stays."""
    known = account.next_call_at
    later = {key: moment_of(known, key, at) for key, at in next_call_at.items()}
    return replace(account, next_call_at={**known, **later})


def before_false_jump(account: Account, now: float) -> Booked | None:
    """The books to go on with if the clock, and no outage, made the last jump; None: the account's.

    Ahead and back again, or behind and forth again: the clock is where it was before.
    """
    before = _jump_known(account)
    if before is None:
        return None
    is_back = is_ahead(account.booked_at, now) and before.booked_at <= now
    is_forth = is_ahead(now, account.booked_at) and account.booked_at < before.booked_at <= now
    return before if is_back or is_forth else None


def booked_since(account: Account, now: float) -> float:
    """Until when spend is booked; now, if never or if the stored moment cannot be true."""
    books = before_false_jump(account, now) or account
    return passed(books.booked_at, now) if books.booked_at > 0 else now


def with_booking(account: Account, booking: RoundBooking) -> Account:
    """The account after a round's books; days and months roll over in UTC.

    Spend since before midnight is shared out by time between the days (and the months) it fell on.
    What a clock that was wrong for a moment booked is taken back, and booked by the right one.
    """
    now, since = booking.booked_until, booked_since(account, booking.booked_until)
    account = roll_over(_with_jump(account, now), now)
    if now > since or since != account.booked_at:
        elapsed_s = max(now - since, 1e-9)
        today = min(1.0, (DAY_S - seconds_left_today(now)) / elapsed_s)
        this_month = min(1.0, _seconds_into_month(now) / elapsed_s)
        account = replace(
            account,
            booked_at=now,
            spent_today_by_group=_with_shares(
                account.spent_today_by_group, booking.spent_by_group, today
            ),
            spent_month_by_group=_with_shares(
                account.spent_month_by_group, booking.spent_by_group, this_month
            ),
            idle_today_microusd=account.idle_today_microusd
            + math.ceil(booking.idle_microusd * today),
        )
    if booking.committed_by_group is None:
        return account
    return replace(
        account,
        committed_by_group=dict(booking.committed_by_group),
        storage_by_group=dict(booking.storage_by_group),
        workers_by_group=dict(booking.workers_by_group),
    )


def _with_jump(account: Account, now: float) -> Account:
    """With the books that go on; those before a jump are kept while it may have been the clock."""
    books = before_false_jump(account, now)
    if books is not None:
        changes = {name: getattr(books, name) for name in _COUNTED}
        account = replace(account, **changes, before_jump=None)
    before = _jump_known(account)  # of two jumps the books before the first are the true ones
    if before is None and account.booked_at and abs(now - account.booked_at) > CLOCK_SLIP_S:
        before = Booked(kept_at=now, **{name: getattr(account, name) for name in _COUNTED})
    return replace(account, before_jump=before)


def _jump_known(account: Account) -> Booked | None:
    before = account.before_jump
    is_old = before is not None and account.booked_at - before.kept_at > JUMP_KNOWN_S
    return None if is_old else before


_COUNTED = tuple(one.name for one in fields(Booked) if one.name != "kept_at")


def roll_over(account: Account, now: float) -> Account:
    """A new UTC day or month starts at zero. Time never goes back, but from a day yet to come.

    Back from there, what is counted stays: no clock that was wrong makes room under a cap.
    """
    day = day_of(now)
    if account.day > day_of(now + CLOCK_SLIP_S):
        return replace(account, day=day, month=day[:7])
    if day <= account.day:
        return account
    rolled = replace(account, day=day, spent_today_by_group={}, idle_today_microusd=0)
    month = day[:7]
    if month > account.month:
        rolled = replace(rolled, month=month, spent_month_by_group={})
    return rolled


def day_of(now: float) -> str:
    """The UTC day, '2026-11-21'."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")


def seconds_left_today(now: float) -> float:
    """Until the UTC day ends."""
    return DAY_S - now % DAY_S


def seconds_left_this_month(now: float) -> float:
    """Until the UTC month ends."""
    moment = datetime.fromtimestamp(now, UTC)
    _, n_days = monthrange(moment.year, moment.month)
    return (n_days - moment.day) * DAY_S + seconds_left_today(now)


def _with_shares(
    before: Mapping[int, int], added: Mapping[int, int], share: float
) -> dict[int, int]:
    after = dict(before)
    for endpoint_id, amount in added.items():
        after[endpoint_id] = after.get(endpoint_id, 0) + math.ceil(amount * share)
    return after


def _seconds_into_month(now: float) -> float:
    return datetime.fromtimestamp(now, UTC).day * DAY_S - seconds_left_today(now)
