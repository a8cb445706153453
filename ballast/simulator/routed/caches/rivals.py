"""What others do about caches. Each knows all at once: one router, no stale view.

Sticky sessions and bounded consistent hashing decide as a gateway would that sees every request;
the omniscient router reads every cache and every queue.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from dataclasses import dataclass, field

from ballast.simulator.routed.caches.worker import CachingWorker, soonest
from ballast.simulator.routed.caches.world import CacheWorld

LOAD_FACTOR = 1.25
RING_POINTS = 256
"""Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads" (arXiv 1608.01350):
nobody has more than 1.25 times the mean of requests. 1.25 is the default of brpc's
`c_murmurhash_bl` and of KubeAI's prefix hash; the more points, the more even the ring."""


@dataclass(slots=True)
class Sticky:
    """A conversation stays where it began: where it would have been begun soonest."""

    world: CacheWorld
    home: dict[tuple[int, ...], CachingWorker] = field(default_factory=dict)

    def arrive(self, request: int, now: float) -> None:
        """Bind at once."""
        key = self.world.prompts[request].conversation
        worker = self.home.get(key)
        if worker is None or worker not in self.world.routable:
            worker = soonest(self.world.routable, None, now)
            self.home[key] = worker
        self.world.bind(request, worker, now)

    def machine_ready(self, now: float) -> None:
        """New conversations find it."""

    def finished(self, number: int) -> None:
        """It does not count."""


@dataclass(slots=True)
class BoundedHashing:
    """The next worker on a ring that has not more than its bounded share of the requests."""

    world: CacheWorld
    _points: list[int] = field(default_factory=list)
    _workers: list[CachingWorker] = field(default_factory=list)
    _members: tuple[int, ...] = ()

    def arrive(self, request: int, now: float) -> None:
        """Bind at once."""
        self._renew()
        routable = self.world.routable
        n_in_flight = sum(len(worker.in_flight) for worker in routable)
        most = math.ceil(LOAD_FACTOR * (n_in_flight + 1) / len(routable))
        at = bisect_right(self._points, _hash(f"key {self.world.prompts[request].conversation}"))
        for step in range(len(self._workers)):
            worker = self._workers[(at + step) % len(self._workers)]
            if len(worker.in_flight) < most:
                self.world.bind(request, worker, now)
                return
        raise ValueError("a ring without workers")

    def machine_ready(self, now: float) -> None:
        """The ring is made anew at the next request."""

    def finished(self, number: int) -> None:
        """It reads how many there are."""

    def _renew(self) -> None:
        members = tuple(worker.number for worker in self.world.routable)
        if members != self._members:
            self._members = members
            ring = sorted(
                (_hash(f"worker {worker.number} {i}"), worker.number, worker)
                for worker in self.world.routable
                for i in range(RING_POINTS)
            )
            self._points = [point for point, _, _ in ring]
            self._workers = [worker for _, _, worker in ring]


@dataclass(slots=True)
class Omniscient:
    """The worker that gives the first token soonest, by its true queue and cache."""

    world: CacheWorld

    def arrive(self, request: int, now: float) -> None:
        """Bind at once."""
        best = soonest(self.world.routable, self.world.prompts[request], now)
        self.world.bind(request, best, now)

    def machine_ready(self, now: float) -> None:
        """It sees it."""

    def finished(self, number: int) -> None:
        """It sees it."""


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
