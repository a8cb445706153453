"""Quotas of one caller's key, as one router sees them: requests, load and requests in flight.

Routers share no count. Each allows the part of a quota that it has of all grants, which the view
tells it for nothing; a key's requests come to a router in the same proportion. So all routers
together keep the quota, but for one request that each of them always lets through.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

LOAD_BURST_S = 10.0
SHARE_SPAN_S = 20.0
"""Over how long a router's share of the grants is taken; the view's rate has the same span."""


@dataclass(slots=True)
class RouterShare:
    """Which part of a group's grants one router made lately."""

    began_at: float
    n_granted: float = 0.0  # fading
    counted_at: float = 0.0

    def granted(self, now: float) -> None:
        """Count a grant."""
        self._fade(now)
        self.n_granted += 1

    def part(self, grants_per_s: float, now: float) -> float:
        """In [0, 1]; `grants_per_s`: of all routers together. 1 while nobody else grants."""
        self._fade(now)
        span_s = SHARE_SPAN_S * -math.expm1(-max(1.0, now - self.began_at) / SHARE_SPAN_S)
        own_per_s = self.n_granted / span_s
        return min(1.0, own_per_s / grants_per_s) if grants_per_s > 0 else 1.0

    def _fade(self, now: float) -> None:
        self.n_granted *= math.exp(-max(0.0, now - self.counted_at) / SHARE_SPAN_S)
        self.counted_at = now


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


@dataclass(slots=True)
class QuotaUse:
    """What a key used lately: two buckets, and when its requests in flight should be done."""

    requests: float = 0.0  # of the burst that is used up
    load: float = 0.0
    counted_at: float = 0.0
    ends_at: list[float] = field(default_factory=list)

    def refusal(self, quota: Quota, now: float, part: float = 1.0) -> str | None:
        """Which quota a request would exceed now, in words; None if none.

        `part`: how much of the quota is this router's.
        """
        self._drain(quota, now, part)
        rate, load_rate, concurrent = (
            quota.max_requests_per_s,
            quota.max_load_per_s,
            quota.max_concurrent,
        )
        if rate is not None and self.requests + 1 > max(1.0, rate * part):
            return f"{rate:g} requests per second"
        if load_rate is not None and self.load > load_rate * LOAD_BURST_S * part:
            return f"load of {load_rate:g} per second"
        if concurrent is not None and len(self.ends_at) >= max(1.0, concurrent * part):
            return f"{concurrent} requests at once"
        return None

    def granted(self, quota: Quota, cost: float, finish_s: float, now: float) -> None:
        """Count a grant that should be done in `finish_s`; `refusal` was asked at the same time."""
        self.requests += 1
        self.load += cost
        if quota.max_concurrent is not None:
            heapq.heappush(self.ends_at, now + finish_s)

    def _drain(self, quota: Quota, now: float, part: float) -> None:
        drained_s = max(0.0, now - self.counted_at) * part
        self.requests = max(0.0, self.requests - drained_s * (quota.max_requests_per_s or 0.0))
        self.load = max(0.0, self.load - drained_s * (quota.max_load_per_s or 0.0))
        self.counted_at = now
        while self.ends_at and self.ends_at[0] <= now:
            heapq.heappop(self.ends_at)
