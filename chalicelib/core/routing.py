"""Choosing the worker for a request: tier, weight, then the least expected finish.

A `RoutingTable` is one router's knowledge of a group's ready workers: the routing view as read, its
own grants since, and what refused reservations told it. A worker is known by `free_at`, when its
work so far will be done, so a request of cost c given to it finishes at
max(now, free_at) + c / perf. Workers are kept sorted by `free_at`, so that only the best of a large
view are looked at.

Autogroups of one tier share traffic in the exact proportion of their weights by a low-discrepancy
sequence (golden-ratio steps); where all weights of a tier are equal the owner asked for no split,
and the tier is one pool. What a tier cannot serve soon enough overflows into the next.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from chalicelib.core.admission import GOLDEN
from chalicelib.core.request_index import worker_slot
from chalicelib.core.tiers import pools_of

MAX_SCANNED = 48
MAX_IDLE_SCANNED = 8
"""Idle workers come fastest and cheapest first: a few more than are needed are enough."""

NEAR_S = 0.05
NEAR_SHARE = 0.02
"""Finishes within this of the best count as equal; among equals the better price decides."""

SPREAD = 1.0
"""Of the grants one has not seen, how many more of the best workers count as equal."""

SLACK_S = 2.0
"""A reservation stands if others granted less than this much work since we last knew.

Both values are from `python -m bench quality`: see docs/performance.md.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutogroupFacts:
    """What routing needs of an autogroup; `generation` overrides what its workers report."""

    autogroup_id: int
    weight: float = 1.0
    tier: int = 0
    is_active: bool = True
    generation: str = ""


@dataclass(kw_only=True, slots=True, eq=False)
class RoutableWorker:
    """A ready worker as one router knows it; changes with every grant.

    `free_at`: when its work so far will be done. `headroom_s`: work that makes nobody wait, since
    it is served beside others in the worker's slots. `generation` "A" to "D".
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
    known_at: float = 0.0
    sort_key: tuple[float, float, float, int] = (0.0, 0.0, 0.0, 0)

    def wait_s(self, now: float) -> float:
        """Seconds until a request given to it now would start."""
        return max(0.0, self.free_at - self.headroom_s - now)

    @property
    def usd_per_load(self) -> float:
        """Price per perf."""
        return self.usd_per_hour / self.perf


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The worker chosen, and what was expected: waiting and finishing, seconds from now."""

    worker: RoutableWorker
    wait_s: float
    finish_s: float
    bound: float  # the reservation stands only if granted_load is not above it


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What a request asks of a worker.

    `bound_s`: it must start within; `avoid_slot`: the worker that failed it; `dice` in [0, 1)
    decides among equals; `autogroup_index`: where it was before, a repeat is not drawn anew.
    """

    cost: float
    bound_s: float
    dice: float
    avoid_slot: int | None = None
    autogroup_index: int | None = None


@dataclass(slots=True)
class _Pool:
    """Workers that compete on expected finish alone, sorted by `free_at`."""

    indexes: tuple[int, ...]
    weight: float
    workers: list[RoutableWorker] = field(default_factory=list)
    max_perf: float = 0.0


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
    ) -> None:
        """`phase` in [0, 1): where this router starts in the weights' sequence.

        `grants_per_s` of all routers together since `built_at` tells how much this one misses.
        """
        self._position = phase
        self._built_at = built_at
        self._grants_per_s = grants_per_s
        self._n_own = 0
        self._tiers = _make_tiers(autogroups)
        self._pool_of = {i: pool for tier in self._tiers for pool in tier for i in pool.indexes}
        self._by_slot: dict[int, RoutableWorker] = {}
        for worker in workers:
            pool = self._pool_of.get(worker.autogroup_index)
            if pool is None or worker.perf <= 0:
                continue
            worker.sort_key = _sort_key(worker)
            pool.workers.append(worker)
            pool.max_perf = max(pool.max_perf, worker.perf)
            self._by_slot[_slot_of(worker)] = worker
        for pool in self._pool_of.values():
            pool.workers.sort(key=_key_of)

    @property
    def n_workers(self) -> int:
        """How many workers can be chosen."""
        return sum(len(pool.workers) for tier in self._tiers for pool in tier)

    @property
    def position(self) -> float:
        """Where the weights' sequence stands; the next table's `phase`."""
        return self._position

    def find_slot(self, slot: int) -> RoutableWorker | None:
        """The worker with a slot, if it is known."""
        return self._by_slot.get(slot)

    def choose(self, wish: Wish, now: float) -> Choice | None:
        """The worker with the least expected finish that would start soon enough, if any.

        Nothing changes until `granted` is called.
        """
        for tier in self._tiers:
            for pool in self._in_order(tier, wish):
                choice = _least_finish(pool, wish, now, self._n_unseen(now))
                if choice is not None:
                    return choice
        return None

    def granted(self, worker: RoutableWorker, cost: float, granted_load: float, now: float) -> None:
        """Our reservation stood: `granted_load` is the row's, this grant included."""
        self._learn(worker, granted_load - cost, now)
        worker.free_at = max(worker.free_at, now) + cost / worker.perf
        worker.granted_load = granted_load
        self._resort(worker)
        self._n_own += 1
        self._position = (self._position + GOLDEN) % 1.0

    def correct(self, worker: RoutableWorker, granted_load: float, now: float) -> None:
        """A reservation was refused: others granted up to `granted_load` meanwhile."""
        self._learn(worker, granted_load, now)
        self._resort(worker)

    def carry_over(self, older: RoutingTable, now: float) -> None:
        """Add what an older table knew of grants that this table's view had not seen yet."""
        for slot, before in older._by_slot.items():
            worker = self._by_slot.get(slot)
            if worker is not None and before.granted_load > worker.granted_load:
                worker.known_at = min(worker.known_at, now)
                self.correct(worker, before.granted_load, before.known_at)

    def drop(self, worker: RoutableWorker) -> None:
        """The worker is not ready any more."""
        pool = self._pool_of[worker.autogroup_index]
        _remove(pool.workers, worker)
        self._by_slot.pop(_slot_of(worker), None)

    def _n_unseen(self, now: float) -> float:
        """Grants that other routers should have made since the view was built."""
        made = self._grants_per_s * max(0.0, now - self._built_at)
        return max(0.0, made - self._n_own)

    def _learn(self, worker: RoutableWorker, granted_load: float, now: float) -> None:
        """Others granted up to `granted_load`, some time since we last knew: say half-way."""
        others = granted_load - worker.granted_load
        if others > 0:
            began_at = max(worker.free_at, (worker.known_at + now) / 2)
            worker.free_at = began_at + others / worker.perf
            worker.granted_load = granted_load
        worker.known_at = max(worker.known_at, now)

    def _resort(self, worker: RoutableWorker) -> None:
        """Put a worker where its `free_at` belongs."""
        workers = self._pool_of[worker.autogroup_index].workers
        _remove(workers, worker)
        worker.sort_key = _sort_key(worker)
        insort(workers, worker, key=_key_of)

    def _in_order(self, tier: Sequence[_Pool], wish: Wish) -> Sequence[_Pool]:
        """The tier's pools, the one whose turn it is first."""
        if len(tier) == 1:
            return tier
        wished = (
            self._pool_of.get(wish.autogroup_index) if wish.autogroup_index is not None else None
        )
        if wished is not None and wished in tier:
            return [wished, *(p for p in tier if p is not wished)]
        point = self._position * sum(pool.weight for pool in tier)
        for i, pool in enumerate(tier):
            if point < pool.weight:
                return [*tier[i:], *tier[:i]]
            point -= pool.weight
        return tier


def _make_tiers(autogroups: Sequence[AutogroupFacts]) -> list[list[_Pool]]:
    tiers: list[list[_Pool]] = []
    for tier in sorted({a.tier for a in autogroups}):
        members = [
            (i, a.weight)
            for i, a in enumerate(autogroups)
            if a.tier == tier and a.is_active and a.weight > 0
        ]
        tiers.append([_Pool(indexes, weight) for indexes, weight in pools_of(members)])
    return tiers


def _least_finish(pool: _Pool, wish: Wish, now: float, n_unseen: float) -> Choice | None:
    """The best of the first `MAX_SCANNED` workers; equals by price, then by the dice.

    The more grants of others this router cannot have seen, the more of the best count as equal:
    if all routers took the very best, they would all take the same.
    """
    n_spread = 1 + int(n_unseen * SPREAD)
    seen, best = _candidates(pool, wish, now, n_spread) if pool.workers else ([], 0.0)
    if not seen:
        return None
    equals = _equals(seen, best, n_spread)
    finish_s, worker = equals[int(wish.dice * len(equals))]
    return Choice(
        worker=worker,
        wait_s=worker.wait_s(now),
        finish_s=finish_s,
        bound=reservation_bound(worker),
    )


def _candidates(
    pool: _Pool, wish: Wish, now: float, n_spread: int
) -> tuple[list[tuple[float, RoutableWorker]], float]:
    """((expected finish in seconds, worker) of those worth a look, the least finish)."""
    n_idle_enough = n_spread + MAX_IDLE_SCANNED
    cost, bound_s, avoid_slot = wish.cost, wish.bound_s, wish.avoid_slot
    least_s = cost / pool.max_perf
    best = near = float("inf")
    seen: list[tuple[float, RoutableWorker]] = []
    for worker in pool.workers[:MAX_SCANNED]:
        busy_s = worker.free_at - now
        if busy_s <= 0:
            if len(seen) >= n_idle_enough:
                break
            busy_s = 0.0
        elif len(seen) >= n_spread and busy_s + least_s > near:
            break
        if busy_s - worker.headroom_s > bound_s or _slot_of(worker) == avoid_slot:
            continue
        finish_s = busy_s + cost / worker.perf
        seen.append((finish_s, worker))
        if finish_s < best:
            best, near = finish_s, finish_s * (1 + NEAR_SHARE) + NEAR_S
    return seen, best


def _equals(
    seen: list[tuple[float, RoutableWorker]], best: float, n_spread: int
) -> list[tuple[float, RoutableWorker]]:
    """Those among which the dice may choose."""
    if n_spread > 1:
        return nsmallest(n_spread, seen, key=_finish_of)
    finish_s = best * (1 + NEAR_SHARE) + NEAR_S
    near = [candidate for candidate in seen if candidate[0] <= finish_s]
    if len(near) == 1:
        return near
    prices = [worker.usd_per_load for _, worker in near]
    cheapest = min(prices) * (1 + NEAR_SHARE)
    return [candidate for candidate, price in zip(near, prices, strict=True) if price <= cheapest]


def _finish_of(candidate: tuple[float, RoutableWorker]) -> float:
    return candidate[0]


def reservation_bound(worker: RoutableWorker) -> float:
    """The `granted_load` up to which a reservation on what we know may stand."""
    return worker.granted_load + SLACK_S * worker.perf


def _slot_of(worker: RoutableWorker) -> int:
    return worker_slot(worker.instance_id)


def _sort_key(worker: RoutableWorker) -> tuple[float, float, float, int]:
    return (worker.free_at, -worker.perf, worker.usd_per_load, worker.instance_id)


def _key_of(worker: RoutableWorker) -> tuple[float, float, float, int]:
    return worker.sort_key


def _remove(workers: list[RoutableWorker], worker: RoutableWorker) -> None:
    at = bisect_left(workers, worker.sort_key, key=_key_of)
    if at < len(workers) and workers[at] is worker:
        del workers[at]
