"""Quotas of one caller's key, as one router sees them: requests, load and requests in flight.

Each router keeps its own count, so N routers together allow up to N times a quota for a moment;
what all of them grant is bounded by the workers' queues and the account's caps.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

LOAD_BURST_S = 10.0


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

    def refusal(self, quota: Quota, now: float) -> str | None:
        """Which quota a request would exceed now, in words; None if none."""
        self._drain(quota, now)
        rate, load_rate, concurrent = (
            quota.max_requests_per_s,
            quota.max_load_per_s,
            quota.max_concurrent,
        )
        if rate is not None and self.requests + 1 > max(1.0, rate):
            return f"{rate:g} requests per second"
        if load_rate is not None and self.load > load_rate * LOAD_BURST_S:
            return f"load of {load_rate:g} per second"
        if concurrent is not None and len(self.ends_at) >= concurrent:
            return f"{concurrent} requests at once"
        return None

    def granted(self, quota: Quota, cost: float, finish_s: float, now: float) -> None:
        """Count a grant that should be done in `finish_s`."""
        self._drain(quota, now)
        self.requests += 1
        self.load += cost
        if quota.max_concurrent is not None:
            heapq.heappush(self.ends_at, now + finish_s)

    def _drain(self, quota: Quota, now: float) -> None:
        elapsed_s = max(0.0, now - self.counted_at)
        self.requests = max(0.0, self.requests - elapsed_s * (quota.max_requests_per_s or 0.0))
        self.load = max(0.0, self.load - elapsed_s * (quota.max_load_per_s or 0.0))
        self.counted_at = now
        while self.ends_at and self.ends_at[0] <= now:
            heapq.heappop(self.ends_at)
