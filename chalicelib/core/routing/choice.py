"""Choosing within one pool: a free slot where it is cheapest, else the least expected finish.

A request that says where its prompt's beginning may lie in a cache goes there instead, as long as
waiting there costs no more than the work that is saved.

Where a worker tells its slots, a request that finds one free starts at once, so the cheapest such
worker is taken: load packs there, and dear workers come to be idle and can be stopped. Else the
worker with the least expected finish is taken, equals by price and dice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from chalicelib.core.routing.affinity import Preference
from chalicelib.core.routing.pool import Ranked, RoutableWorker, slot_of

MAX_SCANNED = 48
"""Of the workers sorted by `free_at` so many beyond those wanted are looked at."""

MAX_IDLE_SCANNED = 8
"""Idle workers come fastest and cheapest first: a few more than are needed are enough."""

NEAR_S = 0.05  # chosen: nobody notices a wait of 50 ms, and a cheaper worker is worth it
NEAR_SHARE = 0.02
"""Finishes within this of the best count as equal; among equals the better price decides."""

SAME_PRICE_SHARE = 1e-6
"""Free workers of one price share alike: none of them is given all because its number is lower."""

SPREAD = 1.4
"""Of the grants one has not seen, how many more of the best workers count as equal."""

SPREAD_S = 3.0
"""None of those finishes later than this after the best."""

SLACK_S = 0.4  # performance.md: routers that share a stale view
SLACK_RANKS = 4  # performance.md: routers that share a stale view
PATIENCE_S = 4.0
"""A reservation stands while the worker is not worse than the `SLACK_RANKS`-th beyond the equals
by more than `SLACK_S`, and its wait is not above `PATIENCE_S`: the longer the queues, the less
others may have added.

The values are from `python -m lab.bench quality`: see docs/internals/performance.md.
"""

CROWD = 0.005
"""Of the work at a worker, what counts as a wait although a slot is free: requests share a worker's
speed, and its prefill. So much evens out which workers new conversations begin at; ten times as
much sends later turns away from what is cached."""


BINDING_GENERATION = "D"
"""The only tickets that bind load, requests and time; the others let their holder go on."""


class OnDemand(StrEnum):
    """Whether a request minds a worker that the market may take away."""

    ANY = "any"
    PREFER = "prefer"  # rather one on demand, if that would start soon enough
    ONLY = "only"


class Why(StrEnum):
    """What decided for a worker."""

    FREE_SLOT = "free_slot"  # the cheapest with a free slot
    LEAST_FINISH = "least_finish"  # none is free: it will be done first
    WARM = "warm"  # its cache should hold the beginning of the prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """The worker chosen, and what was expected: waiting and finishing, seconds from now."""

    worker: RoutableWorker
    wait_s: float
    finish_s: float
    bound: float  # the reservation stands only if granted_load is not above it
    why: Why
    promised_load: float = (
        0.0  # of the cost, what the client stated that this worker's cache spares
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Criteria:
    """What a request asks of a worker.

    `bound_s`: it must start within; `avoid_slot`: the worker that failed it; `dice` in [0, 1)
    decides among equals; `autogroup_index`: where it was before, a repeat is not drawn anew;
    `is_strict`: what others granted unseen must not put the start beyond `bound_s` either.
    `preferences`: the keys under which workers may be warm for it, the special one first.
    `is_limited`: its ticket is good for so much and no more, so only a worker that holds it to that
    may get it.
    """

    cost: float
    bound_s: float
    dice: float
    avoid_slot: int | None = None
    turned_from: frozenset[int] = frozenset()  # slots of workers that lately failed this key
    autogroup_index: int | None = None
    is_strict: bool = False
    preferences: tuple[Preference, ...] = ()
    on_demand: OnDemand = OnDemand.ANY
    is_limited: bool = False

    def avoids(self, worker: RoutableWorker) -> bool:
        """Whether it should not go to this worker."""
        if self.avoid_slot is None and not self.turned_from:
            return False
        slot = slot_of(worker)
        return slot == self.avoid_slot or slot in self.turned_from

    def bars(self, worker: RoutableWorker) -> bool:
        """Whether it may not go there: the market takes it away, or it keeps no limits."""
        return (worker.is_bid and self.on_demand is not OnDemand.ANY) or (
            self.is_limited and worker.generation != BINDING_GENERATION
        )


def choose_worker(pool: Ranked, criteria: Criteria, now: float, n_unseen: float) -> Choice | None:
    """The cheapest with a free slot, else the best of those free first; or one that is warm.

    The more grants of others this router cannot have seen, the more of the best count as equal:
    if all routers took the very best, they would all take the same.
    """
    if criteria.preferences and (home := _first_home(pool, criteria, now)):
        return home
    n_spread = 1 + int(n_unseen * SPREAD)
    cold = _cheapest_free(pool, criteria, now, n_spread)
    cold = cold or _least_finish(pool, criteria, now, n_spread)
    if cold is None or not criteria.preferences:
        return cold
    return _warm(pool, criteria, now, cold) or cold


def _first_home(pool: Ranked, criteria: Criteria, now: float) -> Choice | None:
    """The special key's first home, if no worker could be sooner: then none need be looked for.

    Only where somebody would get the request without its keys, too.
    """
    preference = criteria.preferences[0]
    worker = pool.first_home_of(preference)
    if worker is None or not _may_take(pool.workers[0], criteria, now):
        return None
    soonest_s = criteria.cost / pool.max_perf
    return _at_home(worker, criteria, now, soonest_s, preference)


def _warm(pool: Ranked, criteria: Criteria, now: float, cold: Choice) -> Choice | None:
    """A worker that should have the prefix, if with what it saves it is no later than `cold`.

    Where a key needs more than one worker its first home is the fullest, and the next ones serve:
    so it spreads over as many as it takes, and no further.
    """
    cost, other, least_busy = criteria.cost, cold.worker, pool.workers[0]
    cold_s = _felt_wait_s(other, now) + cost / other.perf
    if least_busy is not other:
        cold_s = min(cold_s, _felt_wait_s(least_busy, now) + cost / least_busy.perf)
    for preference in criteria.preferences:
        for worker in pool.homes_of(preference):
            if choice := _at_home(worker, criteria, now, cold_s, preference):
                return choice
            preference = preference.at_next_home()
    return None


def _at_home(
    worker: RoutableWorker, criteria: Criteria, now: float, cold_s: float, preference: Preference
) -> Choice | None:
    """A worker that should have the prefix; None where that saves less than it makes wait.

    `cold_s`: in which the request would be done elsewhere.
    """
    warm_s = (criteria.cost - preference.saved_load) / worker.perf
    margin_s = cold_s - _felt_wait_s(worker, now) - warm_s
    if margin_s < 0 or not _may_take(worker, criteria, now):
        return None
    wait_s = worker.wait_s(now)
    most_s = criteria.bound_s if criteria.is_strict else PATIENCE_S
    slack_s = max(0.0, min(SLACK_S + margin_s, most_s - wait_s))
    return Choice(
        worker=worker,
        wait_s=wait_s,
        finish_s=max(0.0, worker.free_at - now) + criteria.cost / worker.perf,
        bound=worker.granted_load + slack_s * worker.perf + _room(worker, now),
        why=Why.WARM,
        promised_load=preference.stated_load,
    )


def _may_take(worker: RoutableWorker, criteria: Criteria, now: float) -> bool:
    return worker.wait_s(now) <= criteria.bound_s and not _is_barred(worker, criteria)


def _is_barred(worker: RoutableWorker, criteria: Criteria) -> bool:
    """Whether the request must not go there: it failed there, or its criteria bars the worker."""
    return criteria.avoids(worker) or criteria.bars(worker)


def _felt_wait_s(worker: RoutableWorker, now: float) -> float:
    return worker.wait_s(now) + CROWD * max(0.0, worker.free_at - now)


def _room(worker: RoutableWorker, now: float) -> float:
    """Load that the worker may be given before anybody waits there."""
    return max(0.0, now + worker.headroom_s - worker.free_at) * worker.perf


def _cheapest_free(pool: Ranked, criteria: Criteria, now: float, n_spread: int) -> Choice | None:
    """The reservation stands as long as others have not filled the slots meanwhile."""
    free: list[RoutableWorker] = []
    dearest = math.inf
    for worker in pool.by_price:
        if len(free) >= n_spread and worker.usd_per_load > dearest:
            break
        if worker.free_at - worker.headroom_s <= now and not _is_barred(worker, criteria):
            if not free:
                dearest = worker.usd_per_load * (1 + SAME_PRICE_SHARE)
            free.append(worker)
    if not free:
        return None
    worker = free[int(criteria.dice * len(free))]
    busy_s = max(0.0, worker.free_at - now)
    return Choice(
        worker=worker,
        wait_s=0.0,
        finish_s=busy_s + criteria.cost / worker.perf,
        bound=worker.granted_load + (worker.headroom_s - busy_s) * worker.perf,
        why=Why.FREE_SLOT,
    )


def _least_finish(pool: Ranked, criteria: Criteria, now: float, n_spread: int) -> Choice | None:
    candidates = _candidates(pool, criteria, now, n_spread + SLACK_RANKS) if pool.workers else []
    if not candidates:
        return None
    equals = _equals(candidates, n_spread)
    finish_s, worker = equals[int(criteria.dice * len(equals))]
    wait_s = worker.wait_s(now)
    other_s = candidates[: n_spread + SLACK_RANKS][-1][0]
    worse_s = other_s - finish_s if len(candidates) > 1 else PATIENCE_S
    most_s = criteria.bound_s if criteria.is_strict else PATIENCE_S
    slack_s = max(0.0, min(SLACK_S + worse_s, most_s - wait_s))
    return Choice(
        worker=worker,
        wait_s=wait_s,
        finish_s=finish_s,
        bound=worker.granted_load + slack_s * worker.perf,
        why=Why.LEAST_FINISH,
    )


def _candidates(
    pool: Ranked, criteria: Criteria, now: float, n_wanted: int
) -> list[tuple[float, RoutableWorker]]:
    """(expected finish in seconds, worker) of those worth a look, best first."""
    n_idle_enough = n_wanted + MAX_IDLE_SCANNED
    cost, bound_s = criteria.cost, criteria.bound_s
    avoids_any = criteria.avoid_slot is not None or bool(criteria.turned_from)
    workers = pool.workers
    if criteria.is_limited or criteria.on_demand is not OnDemand.ANY:
        workers = [worker for worker in workers if not criteria.bars(worker)]
    least_s = cost / pool.max_perf
    near = float("inf")
    seen: list[tuple[float, RoutableWorker]] = []
    for worker in workers[: MAX_SCANNED + n_wanted]:
        busy_s = worker.free_at - now
        if busy_s <= 0:
            if len(seen) >= n_idle_enough:
                break
            busy_s = 0.0
        elif len(seen) >= n_wanted and busy_s + least_s > near:
            break
        if busy_s - worker.headroom_s > bound_s or (avoids_any and criteria.avoids(worker)):
            continue
        finish_s = busy_s + cost / worker.perf
        seen.append((finish_s, worker))
        near = min(near, finish_s * (1 + NEAR_SHARE) + NEAR_S)
    seen.sort(key=_finish_of)
    return seen


def _equals(
    best_first: list[tuple[float, RoutableWorker]], n_spread: int
) -> list[tuple[float, RoutableWorker]]:
    """Those among which the dice may choose."""
    best_s = best_first[0][0]
    if n_spread > 1:
        return [c for c in best_first[:n_spread] if c[0] <= best_s + SPREAD_S]
    finish_s = best_s * (1 + NEAR_SHARE) + NEAR_S
    near = [candidate for candidate in best_first if candidate[0] <= finish_s]
    if len(near) == 1:
        return near
    prices = [worker.usd_per_load for _, worker in near]
    cheapest = min(prices) * (1 + NEAR_SHARE)
    return [candidate for candidate, price in zip(near, prices, strict=True) if price <= cheapest]


def _finish_of(candidate: tuple[float, RoutableWorker]) -> float:
    return candidate[0]
