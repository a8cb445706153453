"""Quotas of one caller's key: requests, load and requests in flight, as two sets of buckets.

What is granted fills the one set, what joins the queue the other. All routers share the key's
buckets as one stored value that changes only under a condition, before the grant or the row is
written; so a quota holds over any number of routers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from chalicelib.core.model.load import WAITING_ENDS_S

LOAD_BURST_S = 10.0
"""A load bucket holds so many seconds of its rate."""

QUEUE_HOLD_S = WAITING_ENDS_S + 1.0
"""A new waiting request counts as one at once for so long: the life of a row that is not polled.

And a little more, as routers' clocks differ: where both ended at the same moment, as many rows
again joined while the first ones still counted.
"""

END_PARTS = 16
"""Requests in flight are kept as counts by when they end, rounded up by at most such a part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """The limits of a key; None = none."""

    max_requests_per_s: float | None = None
    max_load_per_s: float | None = None
    max_concurrent: int | None = None

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing is limited."""
        return (
            self.max_requests_per_s is None
            and self.max_load_per_s is None
            and self.max_concurrent is None
        )

    @property
    def request_bucket(self) -> float:
        """Requests that it lets pass at once."""
        rate = self.max_requests_per_s
        return math.inf if rate is None else max(1.0, rate)

    @property
    def load_bucket(self) -> float:
        """Load that it lets pass at once."""
        rate = self.max_load_per_s
        return math.inf if rate is None else rate * LOAD_BURST_S

    def oversize(self, cost: float) -> str | None:
        """Why a request of this cost can never pass; None if it can."""
        if cost <= self.load_bucket:
            return None
        return (
            f"cost: {cost:g} is more than this key's bucket of load ever holds: "
            f"max_load_per_s {self.max_load_per_s:g} holds {self.load_bucket:g} at once; "
            "ask for less, or for a key with a higher max_load_per_s"
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken out of one set of buckets. `ends`: (moment, how many are in flight until)."""

    requests: float = 0.0
    load: float = 0.0
    counted_at: float = 0.0
    ends: tuple[tuple[float, int], ...] = ()

    @property
    def n_at_once(self) -> int:
        """Requests in flight."""
        return sum(n for _, n in self.ends)

    def drained(self, quota: Quota, now: float) -> Taken:
        """What is left of it now. Another router's clock may be ahead: nothing drains twice."""
        elapsed_s = max(0.0, now - self.counted_at)
        return Taken(
            requests=max(0.0, self.requests - elapsed_s * (quota.max_requests_per_s or 0.0)),
            load=max(0.0, self.load - elapsed_s * (quota.max_load_per_s or 0.0)),
            counted_at=max(now, self.counted_at),
            ends=tuple((at, n) for at, n in self.ends if at > now),
        )

    def refusal(self, quota: Quota, cost: float) -> str | None:
        """Which limit one more request would exceed, in words; None if none. After `drained`."""
        if self.requests + 1 > quota.request_bucket:
            return f"{quota.max_requests_per_s:g} requests per second"
        if self.load + cost > quota.load_bucket:
            return f"load of {quota.max_load_per_s:g} per second"
        if quota.max_concurrent is not None and self.n_at_once >= quota.max_concurrent:
            return f"{quota.max_concurrent} requests at once"
        return None

    def plus(self, quota: Quota, cost: float, ends_at: float) -> Taken:
        """With one more request, in flight until then. Only what is limited is counted."""
        ends = dict(self.ends)
        if quota.max_concurrent is not None:
            ends[ends_at] = ends.get(ends_at, 0) + 1
        return replace(
            self,
            requests=self.requests + (quota.max_requests_per_s is not None),
            load=self.load + (0.0 if quota.max_load_per_s is None else cost),
            ends=tuple(sorted(ends.items())),
        )

    def minus(self, quota: Quota, cost: float, ends_at: float) -> Taken:
        """Without a request that came to nothing."""
        ends = dict(self.ends)
        if ends_at in ends:
            ends[ends_at] -= 1
        return replace(
            self,
            requests=max(0.0, self.requests - (quota.max_requests_per_s is not None)),
            load=max(0.0, self.load - (0.0 if quota.max_load_per_s is None else cost)),
            ends=tuple((at, n) for at, n in sorted(ends.items()) if n > 0),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyBuckets:
    """A key's buckets, as all routers share them. `revision`: +1 at every change."""

    key_id: str
    revision: int = 0
    granted: Taken = field(default_factory=Taken)
    queued: Taken = field(default_factory=Taken)

    def empty_in_s(self, quota: Quota) -> float:
        """When nothing of it is left, in seconds after its last change, if nothing is added."""
        waits = [QUEUE_HOLD_S]
        for taken in (self.granted, self.queued):
            if quota.max_requests_per_s:
                waits.append(taken.requests / quota.max_requests_per_s)
            if quota.max_load_per_s:
                waits.append(taken.load / quota.max_load_per_s)
            waits += [at - taken.counted_at for at, _ in taken.ends]
        return max(waits)


def end_of(now: float, held_s: float) -> float:
    """When a request that is held for so long ends, rounded up: few moments stand for many."""
    step = 2.0 ** math.ceil(math.log2(max(held_s, 1.0) / END_PARTS))
    return math.ceil((now + held_s) / step) * step
