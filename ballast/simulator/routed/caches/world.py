"""The clock that caching workers share, the requests, and what became of them."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ballast.simulator.routed.caches.prompts import Prompt
from ballast.simulator.routed.caches.worker import BlockCache, CachingWorker, Job
from ballast.simulator.world.traces import Trace

SLO_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Served:
    """What became of a request; times in seconds since it came."""

    wait_s: float
    first_token_s: float
    n_blocks: int
    n_hits: int
    worker: int


class Discipline(Protocol):
    """Who takes requests as they come, and sees to it that a worker gets them."""

    def arrive(self, request: int, now: float) -> None:
        """A request came in."""
        ...

    def machine_ready(self, now: float) -> None:
        """A worker came up: the last of `routable`."""
        ...

    def finished(self, number: int) -> None:
        """A worker has done with a request."""
        ...


class CacheWorld:
    """A clock, a fleet and the requests; `discipline` decides who serves them."""

    def __init__(
        self, prompts: Sequence[Prompt], n_workers: int, n_blocks: int, n_slots: int
    ) -> None:
        self.prompts = prompts
        times, loads = [p.at for p in prompts], [p.load for p in prompts]
        self.trace = Trace(name="prompts", times=times, loads=loads, duration_s=times[-1] + 1.0)
        self.mean_load = sum(loads) / len(loads)
        self.now = 0.0
        self.slo_wait_s = SLO_WAIT_S
        self.machines: dict[int, CachingWorker] = {}
        self.routable: list[CachingWorker] = []
        self.served: list[Served | None] = [None] * len(prompts)
        self.discipline: Discipline | None = None
        self._n_blocks, self._n_slots = n_blocks, n_slots
        self._next_number = 1
        self._counter = 0
        self._heap: list[tuple[float, int, Callable[..., None], object]] = []
        self._n_workers = n_workers

    def at(self, time: float, handler: Callable[..., None], argument: object = None) -> None:
        """Call `handler(argument)` then."""
        self._counter += 1
        heapq.heappush(self._heap, (time, self._counter, handler, argument))

    def run(self, discipline: Discipline) -> None:
        """Play all requests to their ends."""
        self.discipline = discipline
        for _ in range(self._n_workers):
            self.grow()
        for request, at in enumerate(self.trace.times):
            self._play_until(at)
            self.now = at
            discipline.arrive(request, at)
        last = self.trace.times[-1]
        while any(s is None for s in self.served) and last < self.trace.duration_s + 7_200.0:
            last += 60.0
            self._play_until(last)

    def _play_until(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, handler, argument = heapq.heappop(self._heap)
            handler(argument)

    def bind(self, request: int, worker: CachingWorker, now: float) -> float | None:
        """Give a request to a worker; when it ends depends on those that come after."""
        worker.take(Job(request, self.prompts[request]), now)
        self._follow(worker)
        return None

    def _follow(self, worker: CachingWorker) -> None:
        """Come back when something happens at a worker."""
        at = worker.next_event_at()
        if at is not None:
            self.at(at, self._happened, (worker, worker.epoch))

    def _happened(self, argument: tuple[CachingWorker, int]) -> None:
        worker, epoch = argument
        if worker.epoch != epoch:
            return
        for job in worker.proceed(self.now):
            at = job.prompt.at
            self.served[job.request] = Served(
                job.started_at - at,
                job.first_token_at - at,
                len(job.prompt.blocks),
                job.n_hits,
                worker.number,
            )
            if self.discipline is not None:
                self.discipline.finished(worker.number)
        self._follow(worker)

    def grow(self, _: object = None) -> None:
        """A worker comes up, with an empty cache."""
        self._add()
        if self.discipline is not None:
            self.discipline.machine_ready(self.now)

    def shrink(self, _: object = None) -> None:
        """The worker that came last drains: it gets nothing more, and its cache is lost."""
        self.routable.remove(max(self.routable, key=lambda worker: worker.number))

    def _add(self) -> None:
        worker = CachingWorker(
            self._next_number,
            BlockCache(self._n_blocks),
            created_at=self.now,
            n_slots=self._n_slots,
        )
        self._next_number += 1
        self.machines[worker.number] = worker
        self.routable.append(worker)
