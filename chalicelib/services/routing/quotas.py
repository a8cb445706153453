"""Quotas of callers' keys: taken from the key's shared buckets before anything has an effect.

A key with limits costs one more conditional write a grant and a new waiting row; a refusal, and a
key without limits, cost none.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from enum import StrEnum

from chalicelib.core.routing.quota import QUEUE_HOLD_S, KeyBuckets, Quota, Taken, end_of
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.keys import CallerKey
from chalicelib.services.routing.memory import RouterMemory, check_time
from chalicelib.wire.ticket import Allowance

logger = logging.getLogger("ballast")

MAX_TRIES = 8
"""Routers that change the same key's buckets at once; each failed try tells what they are now."""


LIMITED_SESSION_S = 3_600.0
"""A session under a key with limits ends so long after its ticket: a revoked key has an end."""


class OverQuotaError(Exception):
    """A limit of the key is reached; the text says which, and is safe to show."""


class OversizeError(Exception):
    """The request is larger than its key's bucket ever is; the text is safe to show."""


class Buckets(StrEnum):
    """Which set of a key's buckets."""

    GRANTED = "granted"
    QUEUED = "queued"


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What was taken, so that it can be given back."""

    row: CallerKey
    buckets: Buckets
    cost: float
    ends_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Quotas:
    """The buckets of keys at one request's moment."""

    ports: HotPorts
    memory: RouterMemory
    now: float

    def check_size(self, row: CallerKey | None, cost: float) -> None:
        """Refuse what could never be granted.

        Raises:
            OversizeError: the cost is larger than the key's bucket.
        """
        problem = row.quota.oversize(cost) if row is not None else None
        if problem is not None:
            raise OversizeError(problem)

    def foreseen_refusal(self, row: CallerKey | None, cost: float) -> str | None:
        """Which limit a grant would exceed, as far as this router knows; asks nobody.

        Others can only have used more since, so what is refused here would be refused there.
        """
        known = None if row is None else self.memory.quotas.get(row.key_id)
        if row is None or known is None:
            return None
        reason = known.granted.drained(row.quota, self.now).refusal(row.quota, cost)
        return None if reason is None else _words(reason)

    def take_grant(self, row: CallerKey | None, cost: float, held_s: float) -> Receipt | None:
        """Take a grant's part, in flight for `held_s`; None for a key without limits.

        Raises:
            OverQuotaError: a limit is reached.
            StorageUnavailableError: the buckets cannot be changed.
        """
        return self._take(row, Buckets.GRANTED, cost, end_of(self.now, held_s))

    def take_place(self, row: CallerKey | None, cost: float) -> None:
        """Take a new waiting request's part.

        Raises:
            OverQuotaError: a limit is reached.
            StorageUnavailableError: the buckets cannot be changed.
        """
        self._take(row, Buckets.QUEUED, cost, self.now + QUEUE_HOLD_S)

    def give_back(self, receipt: Receipt | None) -> None:
        """The grant came to nothing. What cannot be given back drains by itself."""
        if receipt is None:
            return
        row, known = receipt.row, self.memory.quotas.get(receipt.row.key_id)
        try:
            for _ in range(MAX_TRIES if known else 0):
                taken = _of(known or KeyBuckets(key_id=row.key_id), receipt.buckets)
                less = taken.minus(row.quota, receipt.cost, receipt.ends_at)
                known = self._put(row, _with(known, row, receipt.buckets, less))
                if known is None:
                    return
        except StorageUnavailableError as error:
            logger.warning("quota_not_given_back", extra={"problem": str(error)})

    def _take(
        self, row: CallerKey | None, buckets: Buckets, cost: float, ends_at: float
    ) -> Receipt | None:
        if row is None or row.quota.is_unlimited:
            return None
        known = self.memory.quotas.get(row.key_id)
        for _ in range(MAX_TRIES):
            taken = _of(known, buckets).drained(row.quota, self.now)
            reason = taken.refusal(row.quota, cost)
            if reason is not None:
                raise OverQuotaError(_words(reason))
            more = taken.plus(row.quota, cost, ends_at)
            known = self._put(row, _with(known, row, buckets, more))
            if known is None:
                return Receipt(row=row, buckets=buckets, cost=cost, ends_at=ends_at)
        raise OverQuotaError("this key is used from too many places at once")

    def _put(self, row: CallerKey, after: KeyBuckets) -> KeyBuckets | None:
        """Store; None when that was done, else what is stored."""
        check_time(self.ports, self.now)
        kept_until = self.now + after.empty_in_s(row.quota)
        stored = self.ports.quotas.put(after, kept_until=kept_until)
        self.memory.quotas[row.key_id] = stored or after
        return stored


def is_limited(row: CallerKey | None) -> bool:
    """Whether a key's tickets buy so much and no more: their worker must hold them to it."""
    return row is not None and not (row.quota.is_unlimited and row.expires_at is None)


def allowance_of(
    row: CallerKey | None, cost: float, receipt: Receipt | None, now: float
) -> Allowance | None:
    """What a ticket of this key may be used for: what was taken for it; None for any use."""
    if row is None or not is_limited(row):
        return None
    quota = row.quota
    ends = [now + LIMITED_SESSION_S]
    if row.expires_at is not None:
        ends.append(row.expires_at)
    if receipt is not None and quota.max_concurrent is not None:
        ends.append(receipt.ends_at)
    return Allowance(
        max_load=math.inf if quota.max_load_per_s is None else cost,
        max_requests=0 if quota.max_requests_per_s is None else 1,
        max_at_once=0 if quota.max_concurrent is None else 1,
        ends_at=min(ends),
    )


def turn_in_s(ports: HotPorts, name: str, every_s: float) -> float:
    """Take a turn that comes once in so long, over all containers; 0, or how long to wait.

    Raises:
        StorageUnavailableError: the turns cannot be changed.
    """
    now, quota = ports.clock.now(), Quota(max_requests_per_s=1 / every_s)
    known: KeyBuckets | None = KeyBuckets(key_id=name)
    for _ in range(MAX_TRIES):
        before = known or KeyBuckets(key_id=name)
        taken = before.granted.drained(quota, now)
        if taken.refusal(quota, 0.0) is not None:
            return taken.requests * every_s
        after = replace(
            before, revision=before.revision + 1, granted=taken.plus(quota, 0.0, now + every_s)
        )
        known = ports.quotas.put(after, kept_until=now + every_s)
        if known is None:
            return 0.0
    return every_s


def _of(known: KeyBuckets | None, buckets: Buckets) -> Taken:
    if known is None:
        return Taken()
    return known.granted if buckets is Buckets.GRANTED else known.queued


def _with(known: KeyBuckets | None, row: CallerKey, buckets: Buckets, taken: Taken) -> KeyBuckets:
    before = known or KeyBuckets(key_id=row.key_id)
    revision = before.revision + 1
    if buckets is Buckets.GRANTED:
        return replace(before, revision=revision, granted=taken)
    return replace(before, revision=revision, queued=taken)


def _words(reason: str) -> str:
    return f"over the quota of this key: {reason}"
