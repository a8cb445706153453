"""Choosing the worker for a request: tier, weight, then a free slot or the least expected finish.

A `RoutingTable` is one router's knowledge of a group's ready workers: the routing view as read, its
own grants since, and what refused reservations told it. `core/routing/choice.py` chooses in a pool.

Autogroups of one tier share traffic in the exact proportion of their weights by a low-discrepancy
sequence (golden-ratio steps); where all weights of a tier are equal the owner asked for no split,
and the tier is one pool. What a tier cannot serve soon enough overflows into the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chalicelib.core.model.autogroup import pools_of
from chalicelib.core.routing.admission import GOLDEN
from chalicelib.core.routing.choice import (
    BINDING_GENERATION,
    Choice,
    Criteria,
    OnDemand,
    choose_worker,
)
from chalicelib.core.routing.pool import Ranked, RoutableWorker, slot_of


@dataclass(frozen=True, kw_only=True, slots=True)
class AutogroupFacts:
    """What routing needs of an autogroup; `generation` overrides what its workers report."""

    autogroup_id: int
    weight: float = 1.0
    tier: int = 0
    is_active: bool = True
    generation: str = ""


class RoutingTable:
    """One router's knowledge of a group's ready workers."""

    def __init__(
        self,
        autogroups: Sequence[AutogroupFacts],
        workers: Sequence[RoutableWorker],
        *,
        phase: float = 0.0,
        built_at: float = 0.0,
        grants_per_s: float = 0.0,
        usual_cost: float = 0.0,
    ) -> None:
        """`phase` in [0, 1): where this router starts in the weights' sequence.

        `grants_per_s` of all routers together since `built_at` tells how much this one misses.
        `usual_cost`: of a grant; what one slot counts for, whatever takes it.
        """
        self._usual_cost = usual_cost
        self.came_share = 1.0  # of what is granted, how much comes and holds a place at a worker
        self._position = phase
        self._built_at = built_at
        self._grants_per_s = grants_per_s
        self._n_own = 0
        self._tiers = _make_tiers(autogroups)
        self._pool_of = {i: pool for tier in self._tiers for pool in tier for i in pool.indexes}
        self._by_slot: dict[int, RoutableWorker] = {}
        self.mean_perf = sum(w.perf for w in workers) / len(workers) if workers else 1.0
        self._headroom_s = sum(w.headroom_s for w in workers) / len(workers) if workers else 0.0
        for worker in workers:
            pool = self._pool_of.get(worker.autogroup_index)
            if pool is None or worker.perf <= 0:
                continue
            pool.add(worker)
            self._by_slot[slot_of(worker)] = worker
        for pool in self._pool_of.values():
            pool.sort()
        self.may_hold_limits = not autogroups or any(
            a.is_active and a.generation in ("", BINDING_GENERATION) and self._may_hold(i)
            for i, a in enumerate(autogroups)
        )
        """Whether some ready worker, or one that may come, keeps a ticket to its limits."""

    def _may_hold(self, index: int) -> bool:
        pool = self._pool_of.get(index)
        ready = [w for w in pool.workers if w.autogroup_index == index] if pool else []
        return not ready or any(w.generation == BINDING_GENERATION for w in ready)

    @property
    def n_workers(self) -> int:
        """How many workers can be chosen."""
        return sum(len(pool.workers) for tier in self._tiers for pool in tier)

    def next_free_s(self, now: float, *, is_on_demand: bool = False) -> float | None:
        """Seconds until some worker could start a request; None without workers.

        `is_on_demand`: of those that the market does not take away.
        """
        pools = [pool.workers for tier in self._tiers for pool in tier if pool.workers]
        firsts = [workers[0] for workers in pools]
        if is_on_demand:
            firsts = [worker for workers in pools for worker in workers if not worker.is_bid]
        return min((worker.wait_s(now) for worker in firsts), default=None)

    def service_s(self, mean_cost: float) -> float:
        """For how long a typical request takes one of a worker's slots."""
        return self._headroom_s + mean_cost / self.mean_perf

    @property
    def position(self) -> float:
        """Where the weights' sequence stands; the next table's `phase`."""
        return self._position

    def find_slot(self, slot: int) -> RoutableWorker | None:
        """The worker with a slot, if it is known."""
        return self._by_slot.get(slot)

    def choose(self, criteria: Criteria, now: float) -> Choice | None:
        """The best worker of the first pool that has one which would start soon enough, if any.

        Nothing changes until `granted` is called.
        """
        choice = self._choose(criteria, now)
        if choice is None and criteria.on_demand is OnDemand.PREFER:
            return self._choose(replace(criteria, on_demand=OnDemand.ANY), now)
        return choice

    def _choose(self, criteria: Criteria, now: float) -> Choice | None:
        for tier in self._tiers:
            for pool in self._in_order(tier, criteria):
                choice = choose_worker(pool, criteria, now, self._n_unseen(now))
                if choice is not None:
                    return choice
        return None

    def granted(self, worker: RoutableWorker, cost: float, granted_load: float, now: float) -> None:
        """Our reservation stood: `granted_load` is the row's, this grant included."""
        self._learn(worker, granted_load - cost, now)
        counted = self._usual_cost if worker.headroom_s > 0 and self._usual_cost > 0 else cost
        worker.free_at = max(worker.free_at, now) + counted * self.came_share / worker.perf
        worker.granted_load = granted_load
        self._pool_of[worker.autogroup_index].resort(worker)
        self._n_own += 1
        self._position = (self._position + GOLDEN) % 1.0

    def correct(self, worker: RoutableWorker, granted_load: float, now: float) -> None:
        """A reservation was refused: others granted up to `granted_load` meanwhile."""
        self._learn(worker, granted_load, now)
        self._pool_of[worker.autogroup_index].resort(worker)

    def carry_over(self, older: RoutingTable, now: float) -> None:
        """Add what an older table knew of grants that this table's view had not seen yet."""
        for slot, before in older._by_slot.items():
            worker = self._by_slot.get(slot)
            if worker is not None and before.granted_load > worker.granted_load:
                worker.known_at = min(worker.known_at, now)
                self.correct(worker, before.granted_load, before.known_at)
        older_pools = {pool.indexes: pool for tier in older._tiers for pool in tier}
        for pool in (pool for tier in self._tiers for pool in tier):
            if pool.indexes in older_pools:
                pool.adopt_homes(older_pools[pool.indexes])

    def drop(self, worker: RoutableWorker) -> None:
        """The worker is not ready any more."""
        self._pool_of[worker.autogroup_index].remove(worker)
        self._by_slot.pop(slot_of(worker), None)

    def _n_unseen(self, now: float) -> float:
        """Grants that other routers should have made since the view was built."""
        made = self._grants_per_s * max(0.0, now - self._built_at)
        return max(0.0, made - self._n_own)

    def _learn(self, worker: RoutableWorker, granted_load: float, now: float) -> None:
        """Others granted up to `granted_load`, some time since we last knew: say half-way."""
        others = granted_load - worker.granted_load
        if others > 0:
            began_at = max(worker.free_at, (worker.known_at + now) / 2)
            worker.free_at = began_at + others * self.came_share / worker.perf
            worker.granted_load = granted_load
        worker.known_at = max(worker.known_at, now)

    def _in_order(self, tier: Sequence[Ranked], criteria: Criteria) -> Sequence[Ranked]:
        """The tier's pools, the one whose turn it is first."""
        if len(tier) == 1:
            return tier
        earlier = (
            self._pool_of.get(criteria.autogroup_index)
            if criteria.autogroup_index is not None
            else None
        )
        if earlier is not None and earlier in tier:
            return [earlier, *(p for p in tier if p is not earlier)]
        point = self._position * sum(pool.weight for pool in tier)
        for i, pool in enumerate(tier):
            if point < pool.weight:
                return [*tier[i:], *tier[:i]]
            point -= pool.weight
        return tier


def _make_tiers(autogroups: Sequence[AutogroupFacts]) -> list[list[Ranked]]:
    tiers: list[list[Ranked]] = []
    for tier in sorted({a.tier for a in autogroups}):
        members = [
            (i, a.weight)
            for i, a in enumerate(autogroups)
            if a.tier == tier and a.is_active and a.weight > 0
        ]
        tiers.append([Ranked(indexes, weight) for indexes, weight in pools_of(members)])
    return tiers
