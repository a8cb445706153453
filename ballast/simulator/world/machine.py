"""A simulated worker: its life, its slots and its bill."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from enum import IntEnum

from chalicelib.core.model.market import Offer


class Life(IntEnum):
    """Where a simulated worker is in its life."""

    LOADING = 0
    READY = 1
    DRAINING = 2
    STOPPED = 3
    STARTING = 4
    PAUSED = 5  # interruptible, and outbid


@dataclass(slots=True, eq=False)
class Machine:
    """One rented machine. Times in seconds of the simulation; `perf` is hidden until loaded."""

    number: int
    offer: Offer
    perf: float
    n_slots: int
    created_at: float
    chances: random.Random
    life: Life = Life.LOADING
    since: float = 0.0
    loaded_at: float = 0.0
    pace: float = 1.0  # of its host: its loads' time over others'
    usd_per_hour: float = 0.0
    free_at: list[float] = field(default_factory=list)  # heap: when each slot is free
    in_flight: dict[int, float] = field(default_factory=dict)  # request: end of its service
    then_destroy: bool = False  # once drained
    drain_by: float = 0.0
    billed_from: float | None = None  # the GPU is paid since
    gpu_s: float = 0.0
    gpu_usd: float = 0.0
    is_bid: bool = False
    base_usd_per_hour: float = 0.0  # what the least bid of a calm zone is
    bid_usd_per_hour: float = 0.0
    bid_margin: float = 1.0  # what was bid over the least that won then
    epoch: int = 0  # counts state changes, so that outdated events are known

    def __post_init__(self) -> None:
        """A new machine loads; its price is the offer's."""
        self.since = self.created_at
        self.usd_per_hour = self.offer.usd_per_hour
        self.free_at = [0.0] * self.n_slots

    @property
    def cache_use(self) -> None:
        """Nothing: its requests have no prompts."""

    @property
    def bid(self) -> float:
        """The standing bid over the base price."""
        return self.bid_usd_per_hour / self.base_usd_per_hour if self.base_usd_per_hour else 0.0

    @property
    def usd_per_perf(self) -> float:
        """What laws rank by: price per measured perf, per the list's perf until measured."""
        perf = self.perf if self.loaded_at else self.offer.dlperf / 100.0
        return self.usd_per_hour / perf

    def change(self, life: Life, now: float, *, billed: bool) -> None:
        """Enter a state and settle the bill of the last one."""
        self.settle(now)
        self.life, self.since = life, now
        self.billed_from = now if billed else None
        self.epoch += 1

    def settle(self, now: float) -> None:
        """Add the GPU time since the last settlement to the bill."""
        if self.billed_from is not None and now > self.billed_from:
            seconds = now - self.billed_from
            self.gpu_s += seconds
            self.gpu_usd += seconds / 3600.0 * self.usd_per_hour
            self.billed_from = now

    def take(self, now: float, service_s: float) -> tuple[float, float]:
        """Give the earliest slot a request: (start, end) of its service."""
        start = max(self.free_at[0], now)
        end = start + service_s
        heapq.heapreplace(self.free_at, end)
        return start, end
