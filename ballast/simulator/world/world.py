"""The discrete-event world: requests, machines and rounds on one clock, seeded and fast.

Events wait in a heap of (time, priority, counter, handler, argument), so ties are deterministic
(simpy's kernel, reduced to what is needed). Arrivals are merged in from the trace.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from ballast.simulator.world.counters import Counters
from ballast.simulator.world.losses import Losses
from ballast.simulator.world.machine import Life, Machine
from ballast.simulator.world.market import Market, MarketConfig
from ballast.simulator.world.traces import Trace
from chalicelib.core.model.market import Offer

NOTICED_AFTER_S = 5.0  # clients of a machine that was taken see their connection end
FIRST, NORMAL, LAST = 0, 1, 2  # priorities at equal times


class Dispatcher(Protocol):
    """Who gives requests to machines, and in which order."""

    @property
    def n_waiting(self) -> int:
        """Requests not bound to a machine."""
        ...

    def arrive(self, request: int, now: float) -> None:
        """A new request."""
        ...

    def return_to_head(self, requests: list[int], now: float) -> None:
        """Requests whose machine died."""
        ...

    def machine_ready(self, now: float) -> None:
        """Capacity came up."""
        ...

    def round(self, now: float) -> None:
        """A scaling round comes next."""
        ...

    def waiting(self, now: float) -> tuple[int, float, int, float, float | None]:
        """(n, load, overdue n, overdue load, oldest arrival) of the requests not bound."""
        ...


class Policy(Protocol):
    """A scaling law at work."""

    def round(self, world: World, now: float) -> None:
        """Decide and act."""
        ...


@dataclass(slots=True)
class World:
    """Requests, machines, the market and the clock."""

    trace: Trace
    config: MarketConfig
    seed: int
    slo_wait_s: float = 10.0
    round_s: float = 5.0
    losses: Losses | None = None  # of interruptible machines; without, none are to be had
    warmup_s: float = 0.0
    now: float = 0.0
    machines: dict[int, Machine] = field(default_factory=dict)
    routable: list[Machine] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    waits: array[float] = field(default_factory=lambda: array("d"))
    last_arrival_at: float | None = None
    gone_gpu_usd: float = 0.0
    gone_gpu_s: float = 0.0
    gone_bid_usd: float = 0.0
    gone_storage_s: float = 0.0
    _heap: list[tuple[float, int, int, Callable[..., None], object]] = field(default_factory=list)
    _counter: int = 0
    _next_number: int = 1
    market: Market = field(init=False)
    dispatcher: Dispatcher = field(init=False)
    policy: Policy = field(init=False)
    mean_load: float = 0.0
    warmup: tuple[float, float, int, int] = (0.0, 0.0, 0, 0)
    first_ready_at: float = math.inf

    def __post_init__(self) -> None:
        """Open the market; nothing was served yet."""
        self.market = Market(self.config, self.seed)
        self.mean_load = sum(self.trace.loads) / len(self.trace.loads)
        self.waits = array("d", [-1.0]) * len(self.trace.times)

    # -- events

    def at(
        self,
        time: float,
        handler: Callable[..., None],
        argument: object = None,
        *,
        priority: int = NORMAL,
    ) -> None:
        """Call `handler(argument)` at a time."""
        self._counter += 1
        heapq.heappush(self._heap, (time, priority, self._counter, handler, argument))

    def run(self, progress: Callable[[float], None] | None = None) -> None:
        """Play the whole trace; `progress` hears the share done, about a hundred times."""
        times, heap, pop = self.trace.times, self._heap, heapq.heappop
        arrive = self.dispatcher.arrive
        counters, loads = self.counters, self.trace.loads
        n, duration = len(times), self.trace.duration_s
        step = max(n // 100, 1)
        self.at(0.0, self._round, priority=LAST)
        self.at(self.warmup_s, self._end_warmup, priority=FIRST)
        for at, zone in self.losses.changes(duration) if self.losses else ():
            self.at(at, self._zone_changes, zone, priority=FIRST)
        request = 0
        while True:
            arrival = times[request] if request < n else math.inf
            if heap and heap[0][0] <= arrival:
                time, _, _, handler, argument = pop(heap)
                if time > duration:
                    break
                self.now = time
                handler(argument)
            elif request < n:
                self.now = arrival
                counters.n_arrived += 1
                counters.arrived_load += loads[request]
                self.last_arrival_at = arrival
                arrive(request, arrival)
                request += 1
                if progress is not None and request % step == 0:
                    progress(request / n)
            else:
                break
        self.now = duration

    def _round(self, _: object) -> None:
        self.dispatcher.round(self.now)
        self.policy.round(self, self.now)
        if self.now + self.round_s <= self.trace.duration_s:
            self.at(self.now + self.round_s, self._round, priority=LAST)

    def _end_warmup(self, _: object) -> None:
        usd, gpu_s = self.bill()
        self.warmup = (usd, gpu_s, self.counters.starts, self.counters.creates)

    # -- service

    def bind(self, request: int, machine: Machine, now: float) -> float:
        """Give a request to a machine's earliest slot; the end of its service."""
        service_s = self.trace.loads[request] * machine.n_slots / machine.perf
        start, end = machine.take(now, service_s)
        wait = start - self.trace.times[request]
        self.waits[request] = wait
        self.counters.n_started += 1
        if wait > self.slo_wait_s:
            self.counters.n_late += 1
        machine.in_flight[request] = end
        self.at(end, self._finish, (machine, request, end), priority=FIRST)
        return end

    def earliest(self, now: float, bound_s: float) -> Machine | None:
        """The machine that could start a request first, within the bound; near-equals by price."""
        best: Machine | None = None
        best_start = now + bound_s
        for machine in self.routable:
            start = machine.free_at[0]
            if start < now:
                start = now
            if start > best_start + 0.05:
                continue
            if best is None:
                if start <= best_start:
                    best, best_start = machine, start
            elif start < best_start - 0.05 or machine.usd_per_perf < best.usd_per_perf:
                best, best_start = machine, start
        return best

    def _finish(self, argument: tuple[Machine, int, float]) -> None:
        machine, request, end = argument
        if machine.in_flight.get(request) == end:
            del machine.in_flight[request]

    # -- machines

    def rent(self, offer: Offer) -> Machine | None:
        """Rent an offer; None if it is gone or the market's limit is reached."""
        if len(self.machines) >= self.config.max_workers:
            return None
        if offer.is_bid and not self._wins(offer):
            return None
        taken = self.market.take(offer.offer_id, self.now)
        if taken is None:
            return None
        config, rng, now = self.config, taken.chances, self.now
        rented = replace(taken.offer, load_s=offer.load_s)  # as its renter predicted
        machine = Machine(self._next_number, rented, taken.perf, config.slots, now, rng)
        machine.pace = taken.pace
        self._next_number += 1
        machine.billed_from = now + config.load_free_s
        if offer.is_bid:
            machine.is_bid, machine.bid_margin = True, offer.bid_margin
            machine.usd_per_hour = machine.bid_usd_per_hour = offer.bid_usd_per_hour
            machine.base_usd_per_hour = taken.offer.usd_per_hour * config.bid_ratio
        self.machines[machine.number] = machine
        self.counters.creates += 1
        life_s = rng.expovariate(1.0 / (config.mean_life_h * 3600.0))
        load_s = config.load_s(rented, rng, taken.pace)
        fate = rng.random()
        if fate < config.boot_failure / 2:
            life_s = min(life_s, rng.uniform(*config.boot_death_s))
        elif fate >= config.boot_failure:
            self.at(now + load_s, self._come_up, (machine, machine.epoch))
        self.at(now + life_s, self._die, machine)
        if config.price_move_interval_h > 0:
            self.at(now + config.price_pause_s(rng), self._move_price, machine)
        return machine

    def _move_price(self, machine: Machine) -> None:
        if machine.number in self.machines:
            machine.settle(self.now)
            machine.usd_per_hour *= self.config.price_factor(machine.chances)
            pause_s = self.config.price_pause_s(machine.chances)
            self.at(self.now + pause_s, self._move_price, machine)

    def start(self, machine: Machine) -> None:
        """Start a stopped machine; it may hang, or be refused at once (then it stays stopped)."""
        config, rng = self.config, machine.chances
        self.counters.starts += 1
        if machine.is_bid and not self._holds(machine):
            machine.change(Life.PAUSED, self.now, billed=False)
            return
        fate = rng.random()
        seconds = config.start_median_s * math.exp(config.start_sigma * rng.gauss(0, 1))
        if fate < config.start_refused:
            return
        machine.change(Life.STARTING, self.now, billed=True)
        if fate >= config.start_refused + config.start_stuck:
            self.at(self.now + seconds, self._come_up, (machine, machine.epoch))

    def drain(self, machine: Machine, *, then_destroy: bool, deadline_s: float) -> None:
        """Give a machine nothing new."""
        if machine.life is Life.READY:
            self.routable.remove(machine)
            machine.change(Life.DRAINING, self.now, billed=True)
        machine.then_destroy = then_destroy
        machine.drain_by = self.now + deadline_s

    def recall(self, machine: Machine) -> None:
        """Give a draining machine work again."""
        machine.change(Life.READY, self.now, billed=True)
        machine.then_destroy = False
        self.routable.append(machine)
        self.dispatcher.machine_ready(self.now)

    def stop(self, machine: Machine) -> None:
        """Stop a machine; what it was serving goes back to the head of the queue."""
        self._leave(machine)
        machine.change(Life.STOPPED, self.now, billed=False)

    def destroy(self, machine: Machine) -> None:
        """Return a machine for good."""
        self._leave(machine)
        machine.change(Life.STOPPED, self.now, billed=False)
        self.gone_gpu_usd += machine.gpu_usd
        self.gone_gpu_s += machine.gpu_s
        self.gone_bid_usd += machine.gpu_usd if machine.is_bid else 0.0
        self.gone_storage_s += self.now - machine.created_at
        del self.machines[machine.number]

    def _come_up(self, argument: tuple[Machine, int]) -> None:
        machine, epoch = argument
        if machine.epoch != epoch or machine.number not in self.machines:
            return
        machine.loaded_at = machine.loaded_at or self.now
        self.first_ready_at = min(self.first_ready_at, self.now)
        machine.change(Life.READY, self.now, billed=True)
        machine.free_at = [self.now] * machine.n_slots
        self.routable.append(machine)
        self.dispatcher.machine_ready(self.now)

    def _die(self, machine: Machine) -> None:
        if machine.number in self.machines:
            self.destroy(machine)

    # -- interruptible machines

    def _wins(self, offer: Offer) -> bool:
        """Whether the offer's bid is enough now."""
        if self.losses is None:
            return False
        least = offer.bid_usd_per_hour / max(offer.bid_margin, 1.0)  # what it was when seen
        now = self.losses.floor(offer.geolocation, self.now)
        return now < math.inf and least > 0

    def _holds(self, machine: Machine) -> bool:
        """Whether a rented machine's bid wins now."""
        if self.losses is None:
            return False
        floor = self.losses.floor(machine.offer.geolocation, self.now)
        return machine.bid >= floor * (1 - 1e-9)

    def change_bid(self, machine: Machine, usd_per_hour: float, margin: float) -> None:
        """Bid anew, and start if that wins."""
        machine.settle(self.now)
        machine.bid_usd_per_hour = machine.usd_per_hour = usd_per_hour
        machine.bid_margin = margin
        if machine.life is Life.PAUSED and self._holds(machine):
            self._resume(machine)

    def _zone_changes(self, zone: str) -> None:
        """Somebody else bids, rents or leaves: machines are taken, others come back."""
        for machine in list(self.machines.values()):
            if not machine.is_bid or machine.offer.geolocation != zone:
                continue
            holds = self._holds(machine)
            if holds and machine.life is Life.PAUSED:
                self._resume(machine)
            elif not holds and machine.life not in (Life.STOPPED, Life.PAUSED):
                self._take_away(machine)

    def _take_away(self, machine: Machine) -> None:
        self.counters.n_taken += 1
        if self.now >= self.warmup_s:
            self.counters.n_broken += len(machine.in_flight)
        was_leaving = machine.life is Life.DRAINING
        self._leave(machine, NOTICED_AFTER_S)
        machine.change(Life.STOPPED if was_leaving else Life.PAUSED, self.now, billed=False)

    def _resume(self, machine: Machine) -> None:
        """It boots again by itself; a first load that was cut begins anew."""
        self.counters.n_resumed += 1
        if machine.loaded_at:
            self.start(machine)
            return
        load_s = self.config.load_s(machine.offer, machine.chances, machine.pace)
        machine.change(Life.LOADING, self.now, billed=True)
        self.at(self.now + load_s, self._come_up, (machine, machine.epoch))

    def _return_to_head(self, requests: list[int]) -> None:
        self.dispatcher.return_to_head(requests, self.now)

    def _leave(self, machine: Machine, noticed_after_s: float = 0.0) -> None:
        if machine.life is Life.READY:
            self.routable.remove(machine)
        if machine.in_flight:
            requests = sorted(machine.in_flight)
            machine.in_flight.clear()
            self.counters.n_started -= len(requests)
            if noticed_after_s:
                self.at(self.now + noticed_after_s, self._return_to_head, requests)
                return
            self.dispatcher.return_to_head(requests, self.now)

    # -- bill

    def bill(self) -> tuple[float, float]:
        """($ so far, GPU seconds so far): GPU by state, storage always."""
        usd, gpu_s, storage_s = self.gone_gpu_usd, self.gone_gpu_s, self.gone_storage_s
        for machine in self.machines.values():
            machine.settle(self.now)
            usd += machine.gpu_usd
            gpu_s += machine.gpu_s
            storage_s += self.now - machine.created_at
        return usd + storage_s / 3600.0 * self.config.storage_usd_per_hour, gpu_s
