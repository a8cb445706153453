"""How a rival's wish becomes machines: the same start, stop and create rules for every rival.

Machines are started, stopped and created by price per perf; stuck starts are given up after 60 s,
stuck loads after 900 s; a machine stopped and unused for an hour is returned when more than 1.2
times the wanted total is held. With `vast_pool` the total is the vendor's default, 2.5 times the
hot ones and at least 5; else it is ours: 1.15 times the maximum of six hours, 1.25 times the hot.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ballast.simulator.world.machine import Life, Machine
from ballast.simulator.world.world import World

STUCK_START_S, STUCK_LOAD_S = 60.0, 900.0
POOL_WINDOW_S = 6 * 3600.0
UNUSED_S = 3600.0
DRAIN_DEADLINE_S = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What a rival's law may look at: counts of one endpoint's requests and machines."""

    now: float
    in_system: int  # running and queued requests
    n_waiting: int  # of them not yet being served, at machines or in the group's queue
    oldest_wait_s: float
    n_arrived: int  # since the previous round
    n_ready: int
    n_pending: int  # starting
    slots: int  # requests a machine serves at once
    service_s: float  # a request's time on a reference machine
    perfs: tuple[float, ...]  # of the ready machines


class Law(Protocol):
    """A published scaling law: how many machines should serve."""

    name: str

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot now."""
        ...


@dataclass(slots=True)
class SlidingMax:
    """Maximum of the values of the last `window_s` seconds (a monotonic queue)."""

    window_s: float
    _items: deque[tuple[float, float]] = field(default_factory=deque)

    def add(self, at: float, value: float) -> float:
        """Add a value; gives the maximum."""
        while self._items and self._items[-1][1] <= value:
            self._items.pop()
        self._items.append((at, value))
        while self._items[0][0] < at - self.window_s:
            self._items.popleft()
        return self._items[0][1]


@dataclass(slots=True)
class LawPolicy:
    """A law with the common machinery around it."""

    law: Law
    vast_pool: bool = False
    least_hot: int = 0  # the owner's floor
    _peak: SlidingMax = field(default_factory=lambda: SlidingMax(POOL_WINDOW_S))
    _arrived: int = 0

    def round(self, world: World, now: float) -> None:
        """Observe, ask the law, act."""
        hot = max(self.law.wanted(self._observe(world, now)), self.least_hot)
        peak = self._peak.add(now, hot)
        total = max(math.ceil(2.5 * hot), 5) if self.vast_pool else pool_size(hot, peak)
        give_up_stuck(world, now)
        match_hot(world, hot)
        match_total(world, total, now)

    def _observe(self, world: World, now: float) -> Observation:
        running = sum(len(machine.in_flight) for machine in world.machines.values())
        queued_at_machines = sum(
            max(len(machine.in_flight) - machine.n_slots, 0) for machine in world.routable
        )
        n_waiting, _, _, _, oldest = world.dispatcher.waiting(now)
        arrived, self._arrived = world.counters.n_arrived - self._arrived, world.counters.n_arrived
        by_life = [machine.life for machine in world.machines.values()]
        return Observation(
            now=now,
            in_system=running + n_waiting,
            n_waiting=n_waiting + queued_at_machines,
            oldest_wait_s=now - oldest if oldest is not None else queue_delay(world, now),
            n_arrived=arrived,
            n_ready=by_life.count(Life.READY),
            n_pending=by_life.count(Life.STARTING),
            slots=world.config.slots,
            service_s=world.mean_load * world.config.slots,
            perfs=tuple(machine.perf for machine in world.routable),
        )


def pool_size(hot: int, peak: float) -> int:
    """Machines to hold in all under our cold pool."""
    return math.ceil(max(1.15 * peak, 1.25 * hot))


def queue_delay(world: World, now: float) -> float:
    """Wait of a request that arrives now, if it could be bound."""
    starts = [machine.free_at[0] for machine in world.routable]
    return max(min(starts) - now, 0.0) if starts else 0.0


def give_up_stuck(world: World, now: float) -> None:
    """Stop starts and destroy loads that hang."""
    for machine in list(world.machines.values()):
        age = now - machine.since
        if machine.life is Life.STARTING and age > STUCK_START_S:
            world.stop(machine)
        elif machine.life is Life.LOADING and age > STUCK_LOAD_S:
            world.destroy(machine)
        elif machine.life is Life.DRAINING and not machine.in_flight:
            world.stop(machine)


def match_hot(world: World, hot: int) -> None:
    """Recall, then start the cheapest while short; drain the dearest while long."""
    machines = by_price(world.machines.values())
    serving = [m for m in machines if m.life in (Life.READY, Life.STARTING)]
    missing = hot - len(serving)
    for machine in [m for m in machines if m.life is Life.DRAINING][: max(missing, 0)]:
        world.recall(machine)
        missing -= 1
    for machine in [m for m in machines if m.life is Life.STOPPED][: max(missing, 0)]:
        world.start(machine)
    ready = [m for m in serving if m.life is Life.READY]
    for machine in reversed(ready):
        if missing >= 0:
            break
        world.drain(machine, then_destroy=False, deadline_s=DRAIN_DEADLINE_S)
        missing += 1


def match_total(world: World, total: int, now: float) -> None:
    """Create while fewer are held than wanted; destroy the long unused when far more are."""
    while len(world.machines) < total:
        offer = min(world.market.offers(now), key=lambda o: (o.usd_per_hour / o.dlperf, o.offer_id))
        if world.rent(offer) is None:
            break
    unused = [
        machine
        for machine in by_price(world.machines.values())
        if machine.life is Life.STOPPED and now - machine.since > UNUSED_S
    ]
    while unused and len(world.machines) - 1 >= 1.2 * total:
        world.destroy(unused.pop())


def by_price(machines: Iterable[Machine]) -> list[Machine]:
    """Machines by price per perf, cheapest first."""
    return sorted(machines, key=lambda machine: (machine.usd_per_perf, machine.number))
