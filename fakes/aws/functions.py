"""Lambda behind its gateways in virtual time: how many run at once, for how long, what callers see.

Rules and sources: docs/internals/aws-rules.md.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum

NEW_ACCOUNT_CONCURRENCY = 10
INTEGRATION_S = {"http": 30.0, "rest": 29.0}


class Door(Enum):
    """A way in: what it answers for a throttled function, and for one that takes too long."""

    HTTP_API = ("http", 503, 503)
    REST_API = ("rest", 500, 504)
    INVOKE = ("invoke", 429, 0)  # the caller waits as long as the function runs

    @property
    def integration_s(self) -> float:
        """How long it waits for an answer."""
        return INTEGRATION_S.get(self.value[0], float("inf"))


@dataclass(slots=True)
class Bucket:
    """A gateway's throttle: requests a second, and how many at once."""

    rate: float
    burst: float
    _level: float = -1.0
    _at: float = 0.0

    def take(self, now: float) -> bool:
        """Whether a request passes."""
        level = self.burst if self._level < 0 else self._level + (now - self._at) * self.rate
        level, self._at = min(self.burst, level), now
        self._level = level - 1 if level >= 1 else level
        return level >= 1


@dataclass(slots=True)
class Account:
    """All functions of an account together; `limit_s` of one ends it, whatever it is doing."""

    concurrency: int = NEW_ACCOUNT_CONCURRENCY
    throttled: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    most_at_once: int = 0
    _ends: list[float] = field(default_factory=list)

    def call(
        self, function: str, seconds: float, now: float, *, door: Door, limit_s: float = 900.0
    ) -> int:
        """The status that a caller gets; time must not go back from call to call."""
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        _, throttled, late = door.value
        if len(self._ends) >= self.concurrency:
            self.throttled[function] += 1
            return throttled
        heapq.heappush(self._ends, now + min(seconds, limit_s))
        self.most_at_once = max(self.most_at_once, len(self._ends))
        if seconds > limit_s:
            self.killed[function] += 1
            return late or 500
        return late if seconds > door.integration_s else 200
