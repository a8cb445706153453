"""EventBridge and Lambda's asynchronous queue in virtual time: each event once at least.

Rules and sources: docs/internals/aws-rules.md. An event may come twice; one whose function failed
comes again after one and two minutes more, one that was throttled for as long as it may be old.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

RETRY_AFTER_S = (60.0, 120.0)  # what a function has that nobody configured
MAX_AGE_S = 6 * 3_600.0
THROTTLED_AGAIN_S = 1.0


@dataclass(frozen=True, order=True, slots=True)
class Event:
    """An invocation that is due. `n_failed`: times that its function failed on it."""

    due_at: float
    sent_at: float
    n_failed: int = 0


@dataclass(slots=True)
class AsyncQueue:
    """A function's queue. `retries` and `max_age_s` as its event invoke configuration says."""

    retries: int = len(RETRY_AFTER_S)
    max_age_s: float = MAX_AGE_S
    twice_share: float = 0.0
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    n_delivered: int = 0
    _due: list[Event] = field(default_factory=list)

    def send(self, at: float) -> None:
        """An event, perhaps twice within a second."""
        heapq.heappush(self._due, Event(at, at))
        if self.rng.random() < self.twice_share:
            heapq.heappush(self._due, Event(at + self.rng.random(), at))

    def due(self, now: float) -> Event | None:
        """The next event to deliver, if one is due; it leaves the queue."""
        while self._due and self._due[0].due_at <= now:
            event = heapq.heappop(self._due)
            if now - event.sent_at <= self.max_age_s:
                self.n_delivered += 1
                return event
        return None

    def next_at(self) -> float:
        """When the next one is due; infinity if none is."""
        return self._due[0].due_at if self._due else float("inf")

    def failed(self, event: Event, now: float) -> None:
        """Its function raised, or was killed by its time limit."""
        if event.n_failed < self.retries:
            again = now + RETRY_AFTER_S[event.n_failed]
            heapq.heappush(self._due, Event(again, event.sent_at, event.n_failed + 1))

    def throttled(self, event: Event, now: float) -> None:
        """No execution was free: it stays queued until it is too old."""
        heapq.heappush(self._due, Event(now + THROTTLED_AGAIN_S, event.sent_at, event.n_failed))
