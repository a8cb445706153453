"""Queue disciplines: early binding in order of arrival, and late binding as our router does it.

Late binding drives the router's own `core/routing/admission.py`: its cut-offs (the room is what the
free slots can take), its bounds per kind of client and its pacing.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from ballast.simulator.world.traces import Trace
from ballast.simulator.world.world import LAST, World
from chalicelib.core.routing.admission import (
    AdmissionParams,
    ClientKind,
    Cutoff,
    Queued,
    bind_within_s,
    decide_cutoffs,
    may_start,
)
from chalicelib.core.routing.queue_place import (
    QueueProfile,
    estimate_place,
    next_poll_s,
    profile_queue,
)
from chalicelib.core.routing.view import load_of_first

VIEW_S = 1.0  # the routing view, and with it the cut-offs, is at most this old
SDK_FIRST_POLL_S, SDK_POLL_S = 1.0, 5.0  # the vendor's SDK: 1 s, then at random up to 5 s


@dataclass(slots=True)
class EarlyFifo:
    """Bind at arrival to the earliest free slot up to `bound_s` ahead; else wait in order."""

    world: World
    bound_s: float = 30.0
    queue: deque[int] = field(default_factory=deque)

    @property
    def n_waiting(self) -> int:
        """Requests not bound."""
        return len(self.queue)

    def arrive(self, request: int, now: float) -> None:
        """Bind, or queue behind the others."""
        machine = None if self.queue else self.world.earliest(now, self.bound_s)
        if machine is None:
            self.queue.append(request)
        else:
            self.world.bind(request, machine, now)

    def return_to_head(self, requests: list[int], now: float) -> None:
        """Requests of a dead machine go first."""
        self.queue.extendleft(reversed(requests))
        self.round(now)

    def machine_ready(self, now: float) -> None:
        """Give the new machine what waits."""
        self.round(now)

    def round(self, now: float) -> None:
        """Bind what has come within the bound."""
        while self.queue:
            machine = self.world.earliest(now, self.bound_s)
            if machine is None:
                return
            self.world.bind(self.queue.popleft(), machine, now)

    def waiting(self, now: float) -> tuple[int, float, int, float, float | None]:
        """See Dispatcher."""
        return totals(self.queue, self.world, now)


@dataclass(slots=True)
class LateScan:
    """Bind within `bound_s` only; the queue is looked at every `every_s`, on time first."""

    world: World
    bound_s: float = 2.0
    every_s: float = 2.0
    on_time_first: bool = True
    queue: list[int] = field(default_factory=list)  # in order of arrival
    _is_scheduled: bool = False

    @property
    def n_waiting(self) -> int:
        """Requests not bound."""
        return len(self.queue)

    def arrive(self, request: int, now: float) -> None:
        """Bind at once if nobody waits."""
        machine = None if self.queue else self.world.earliest(now, self.bound_s)
        if machine is not None:
            self.world.bind(request, machine, now)
            return
        self.queue.append(request)
        self._schedule(now)

    def return_to_head(self, requests: list[int], now: float) -> None:
        """Requests of a dead machine have the oldest arrivals."""
        for request in requests:
            heapq.heappush(self.queue, request)
        self.queue.sort()
        self._schedule(now)

    def machine_ready(self, now: float) -> None:
        """Nothing: the next look comes soon."""

    def round(self, now: float) -> None:
        """Nothing: the queue has its own rhythm."""

    def waiting(self, now: float) -> tuple[int, float, int, float, float | None]:
        """See Dispatcher."""
        return totals(self.queue, self.world, now)

    def _schedule(self, now: float) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self.world.at(now + self.every_s, self._look)

    def _look(self, _: object) -> None:
        now, world = self.world.now, self.world
        self._is_scheduled = False
        oldest_on_time = now - world.slo_wait_s
        order = self.queue
        if self.on_time_first:
            times = world.trace.times
            order = [r for r in order if times[r] >= oldest_on_time]
            order += [r for r in self.queue if times[r] < oldest_on_time]
        bound = 0
        for request in order:
            machine = world.earliest(now, self.bound_s)
            if machine is None:
                break
            world.bind(request, machine, now)
            bound += 1
        self.queue = sorted(order[bound:])
        if self.queue:
            self._schedule(now)


@dataclass(slots=True)
class LatePolling:
    """Our router: late binding, on time first, each client asking again by itself."""

    world: World
    kind: ClientKind
    params: AdmissionParams
    rng: random.Random
    queued: dict[int, Queued] = field(default_factory=dict)
    cutoff: Cutoff = field(default_factory=Cutoff)
    n_polls: int = 0
    _has_view: bool = False
    _profile: QueueProfile = field(default_factory=QueueProfile)

    @property
    def n_waiting(self) -> int:
        """Requests not bound."""
        return len(self.queued)

    @property
    def _bound_s(self) -> float:
        """How far ahead requests of this kind of client are bound."""
        world = self.world
        if not world.routable:
            return 0.0
        perf = sum(machine.perf for machine in world.routable) / len(world.routable)
        service_s = world.mean_load * world.config.slots / perf
        return bind_within_s(self.kind, self.params, service_s)

    def arrive(self, request: int, now: float) -> None:
        """Ask once; if told to wait, remember and ask again."""
        queued = Queued(now, self.world.trace.loads[request])
        if not self._ask(request, now, queued):
            paced = self.kind is ClientKind.PACED
            self._wait(request, now, self._pause(request) if paced else SDK_FIRST_POLL_S)

    def return_to_head(self, requests: list[int], now: float) -> None:
        """Clients of a dead machine ask again at once, with their old index."""
        for request in requests:
            self._wait(request, now, 0.0)

    def machine_ready(self, now: float) -> None:
        """A machine that becomes ready gets into the view at once."""
        if self.queued:
            self._rebuild(now)

    def round(self, now: float) -> None:
        """Nothing: clients ask."""

    def waiting(self, now: float) -> tuple[int, float, int, float, float | None]:
        """See Dispatcher."""
        return totals(list(self.queued), self.world, now)

    def _wait(self, request: int, now: float, pause_s: float) -> None:
        trace = self.world.trace
        self.queued[request] = Queued(trace.times[request], trace.loads[request])
        self.world.at(now + pause_s, self._poll, request)
        if not self._has_view:
            self._has_view = True
            self.world.at(now + VIEW_S, self._view, priority=LAST)

    def _poll(self, request: int) -> None:
        self.n_polls += 1
        now = self.world.now
        if self._ask(request, now, self.queued[request]):
            del self.queued[request]
        else:
            self.world.at(now + self._pause(request), self._poll, request)

    def _pause(self, request: int) -> float:
        """Seconds until a waiting client asks again."""
        if self.kind is not ClientKind.PACED:
            return self.rng.uniform(0.1, SDK_POLL_S)
        now, trace = self.world.now, self.world.trace
        queued = Queued(trace.times[request], trace.loads[request])
        eta_s = estimate_place(queued, now, self._profile, self.params).eta_s
        return next_poll_s(queued.first_seen_at, eta_s, self.params, now, self.rng.random())

    def _ask(self, request: int, now: float, queued: Queued) -> bool:
        if not may_start(queued, now, self.cutoff, self.params, dice=self.rng.random()):
            return False
        machine = self.world.earliest(now, self._bound_s)
        if machine is None:
            return False
        self.world.bind(request, machine, now)
        return True

    def _view(self, _: object) -> None:
        self._rebuild(self.world.now)
        self._has_view = bool(self.queued)
        if self._has_view:
            self.world.at(self.world.now + VIEW_S, self._view, priority=LAST)

    def _rebuild(self, now: float) -> None:
        capacity = sum(machine.perf for machine in self.world.routable)
        if not self.queued:
            self.cutoff, self._profile = Cutoff(), QueueProfile(capacity=capacity)
            return
        until = now + self._bound_s + VIEW_S
        n_free = sum(at <= until for machine in self.world.routable for at in machine.free_at)
        waiting = list(self.queued.values())
        room = load_of_first(waiting, n_free, self.params, now)
        self.cutoff = decide_cutoffs(waiting, room, self.params, now).for_key("")
        typical_cost = self.cutoff.typical_cost
        self._profile = QueueProfile(
            points=profile_queue(waiting, typical_cost, self.params, now),
            capacity=capacity,
            typical_cost=typical_cost,
        )


class Judged(Protocol):
    """Requests and the wait that is still on time."""

    trace: Trace
    slo_wait_s: float


def totals(
    requests: deque[int] | list[int], world: Judged, now: float
) -> tuple[int, float, int, float, float | None]:
    """What `Dispatcher.waiting` tells of these requests."""
    if not requests:
        return 0, 0.0, 0, 0.0, None
    times, loads = world.trace.times, world.trace.loads
    deadline = now - world.slo_wait_s
    overdue = [loads[request] for request in requests if times[request] < deadline]
    oldest = min(times[request] for request in requests)
    return len(requests), sum(loads[r] for r in requests), len(overdue), sum(overdue), oldest
