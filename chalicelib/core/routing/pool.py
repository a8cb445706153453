"""The workers of one pool as a router knows them, in order: by when they are free, and by price.

A worker is known by `free_at`, when its work so far will be done, so a request of cost c given to
it finishes at max(now, free_at) + c / perf. Workers are kept sorted by `free_at`, so that only the
best of a large view are looked at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter

from chalicelib.core.routing.affinity import Homes, Preference, same_or_new, weight_class
from chalicelib.core.routing.request_index import worker_slot


@dataclass(kw_only=True, slots=True, eq=False)
class RoutableWorker:
    """A ready worker as one router knows it; changes with every grant.

    `free_at`: when its work so far will be done. `headroom_s`: work that makes nobody wait, since
    it is served beside others in the worker's slots. `generation` "A" to "D"; `reads_keys`: of D,
    those that take tickets which name their key.
    """

    instance_id: int
    autogroup_index: int
    perf: float
    usd_per_hour: float
    free_at: float
    granted_load: float
    headroom_s: float = 0.0
    generation: str = "D"
    boot_id: str = ""
    key_id: str = ""
    url: str = ""
    certificate_sha256: str = ""
    reads_keys: bool = False
    is_bid: bool = False  # interruptible: the market may take it away
    known_at: float = 0.0
    sort_key: tuple[float, float, float, int] = (0.0, 0.0, 0.0, 0)

    def wait_s(self, now: float) -> float:
        """Seconds until a request given to it now would start."""
        return max(0.0, self.free_at - self.headroom_s - now)

    @property
    def usd_per_load(self) -> float:
        """Price per perf."""
        return self.usd_per_hour / self.perf


@dataclass(slots=True)
class Ranked:
    """Workers that compete on expected finish alone, sorted by `free_at`."""

    indexes: tuple[int, ...]
    weight: float
    workers: list[RoutableWorker] = field(default_factory=list)
    max_perf: float = 0.0
    by_price: list[RoutableWorker] = field(default_factory=list)  # those with several slots
    by_id: dict[int, RoutableWorker] = field(default_factory=dict)
    _homes: tuple[Homes, ...] = ()  # of these workers, then of those of older tables

    def add(self, worker: RoutableWorker) -> None:
        """One more worker; `sort` once all are in."""
        worker.sort_key = _sort_key(worker)
        self.workers.append(worker)
        self.by_id[worker.instance_id] = worker
        self.max_perf = max(self.max_perf, worker.perf)

    def sort(self) -> None:
        """Bring the workers into order."""
        self.workers.sort(key=_key_of)
        self.by_price = sorted((w for w in self.workers if w.headroom_s > 0), key=_price_of)

    def homes_of(self, preference: Preference) -> Iterator[RoutableWorker]:
        """The workers that a key prefers and that are still there, the first choice first."""
        for instance_id in self._orders().one_by_one(preference.bucket):
            if worker := self.by_id.get(instance_id):
                yield worker

    def first_home_of(self, preference: Preference) -> RoutableWorker | None:
        """The first choice, where it is found at once; None does not say that there is none."""
        for instance_id in self._orders().first_of(preference.bucket):
            if worker := self.by_id.get(instance_id):
                return worker
        return None

    def _orders(self) -> Homes:
        if not self._homes:
            self._homes = (Homes(self._members()),)
        return self._homes[0]

    def adopt_homes(self, older: Ranked) -> None:
        """Go on with an older table's orders, if they are of the same workers."""
        if older._homes:
            self._homes = same_or_new(older._homes, self._members())

    def _members(self) -> tuple[tuple[int, int], ...]:
        workers = self.by_id.values()
        return tuple([(w.instance_id, weight_class(w.perf, w.usd_per_hour)) for w in workers])

    def resort(self, worker: RoutableWorker) -> None:
        """Put a worker where its `free_at` belongs now."""
        self._take_out(worker)
        worker.sort_key = _sort_key(worker)
        insort(self.workers, worker, key=_key_of)

    def remove(self, worker: RoutableWorker) -> None:
        """Forget a worker, if it is there."""
        self._take_out(worker)
        self.by_id.pop(worker.instance_id, None)
        if worker in self.by_price:
            self.by_price.remove(worker)

    def _take_out(self, worker: RoutableWorker) -> None:
        at = bisect_left(self.workers, worker.sort_key, key=_key_of)
        if at < len(self.workers) and self.workers[at] is worker:
            del self.workers[at]


def slot_of(worker: RoutableWorker) -> int:
    """The worker's slot in a `request_idx`."""
    return worker_slot(worker.instance_id)


def _sort_key(worker: RoutableWorker) -> tuple[float, float, float, int]:
    return (worker.free_at, -worker.perf, worker.usd_per_load, worker.instance_id)


def _price_of(worker: RoutableWorker) -> tuple[float, int]:
    return (worker.usd_per_load, worker.instance_id)


_key_of = attrgetter("sort_key")  # a router's most frequent call
