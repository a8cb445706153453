"""What interruptible machines are worth as a reserve, and renting them for what it lacks. Pure.

A stopped machine costs its disk, whether it was bid for or not. So those at bids count in the pool
as far as they would be left when the places that may be lost together are lost: then the machines
on demand need not stand beside all of them (docs/internals/scaling.md 12).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection

from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.scaling.actions import RentOffer
from chalicelib.core.scaling.moves.interruptible import (
    MIN_KNOWN_S,
    Candidate,
    bid_rental,
    candidates_of,
    crowded_usd_per_hour,
    mode_of,
    room_for_bids,
    shares_by_place,
)
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.snapshot import PendingRental, WorkerFacts

Sums = dict[tuple[str, str], float]
"""Capacity by (place, GPU type)."""

LEAST_ADDED = 0.3  # of a machine's capacity that must remain after the losses that are insured


def n_places_insured(slo_target: float) -> int:
    """How many places may be lost at once without a lack: one for 99 %, two for 99.9 %.

    Another load takes minutes: one place too many, once a day, makes some 0.3 % of a day late.
    """
    nines = -math.log10(max(1.0 - slo_target, 1e-6))
    return max(round(nines) - 1, 1)


def bid_standby(pool: Pool, ctx: Round, gone: Collection[int] = ()) -> float:
    """Capacity of interruptible machines, up or stopped, that is left after the insured losses.

    Where an outbid machine shows that a place is away, nobody stopped there counts; such places are
    among the losses that are insured. `gone` are left out. Two places or more are insured together
    with all machines of one GPU type.
    """
    standby = _insured(pool, ctx)(_held(pool, ctx, gone))
    return standby + sum(_expected(rental, ctx) for rental in pool.rentals if rental.is_bid)


def places_away(pool: Pool) -> set[str]:
    """Places where machines are outbid and none is up."""
    up = {w.place for w in pool.ready + pool.draining + pool.starting if w.is_bid}
    return {w.place for w in pool.paused} - up


def _counted(pool: Pool) -> list[WorkerFacts]:
    up = pool.ready + pool.draining + pool.starting
    return up + pool.stopping + pool.stopped + pool.booting


def _held(pool: Pool, ctx: Round, gone: Collection[int] = ()) -> Sums:
    """The capacity of interruptible machines where none is away, by (place, GPU type)."""
    away = places_away(pool)
    sums: Sums = defaultdict(float)
    for worker in _counted(pool):
        if worker.is_bid and worker.place not in away and worker.instance_id not in gone:
            sums[worker.place, worker.gpu_type] += ctx.capacity(worker)
    return sums


def _insured(pool: Pool, ctx: Round) -> Callable[[Sums], float]:
    """What is left of capacities after the losses that are insured, beyond what is away."""
    n_insured = n_places_insured(ctx.snapshot.group.params.slo_target)
    n_more = n_insured - len(places_away(pool))
    return lambda sums: _left(sums, n_more, is_type_insured=n_insured > 1)


def _left(sums: Sums, n_places: int, *, is_type_insured: bool) -> float:
    """The capacity by (place, type) without the largest places, or without the largest type."""
    places, types = _sums_of(sums, 0), _sums_of(sums, 1)
    lost = sum(places[: max(n_places, 0)])
    if is_type_insured and types:
        lost = max(lost, types[0])
    return sum(places) - lost


def _sums_of(sums: Sums, index: int) -> list[float]:
    found: defaultdict[str, float] = defaultdict(float)
    for key, capacity in sums.items():
        found[key[index]] += capacity
    return sorted(found.values(), reverse=True)


def _expected(rental: PendingRental, ctx: Round) -> float:
    beliefs = ctx.beliefs
    perf = beliefs.perf_of(rental.autogroup_id, rental.gpu_type, rental.dlperf)
    return perf * beliefs.boot_odds(rental.autogroup_id, rental.gpu_type)


# Renting.


def may_stand_in(pool: Pool, ctx: Round) -> bool:
    """Whether what the pool lacks may be rented at bids: while others can serve what comes.

    One machine on demand is held in any case, for those who insist on one.
    """
    memory = ctx.beliefs.memory
    is_wanted = pool.autogroup is not None and mode_of(pool, ctx) is not Interruptible.NEVER
    is_known = memory.usage_s >= MIN_KNOWN_S and memory.worker_perf > 0
    return is_wanted and is_known and memory.starved <= 0 and has_on_demand(pool)


def has_on_demand(pool: Pool) -> bool:
    """Whether a machine on demand is held or on order."""
    held = pool.loaded + pool.booting
    return any(not w.is_bid for w in held) or any(not r.is_bid for r in pool.rentals)


def plan_standby(
    pool: Pool, missing: float, total: float, ctx: Round, n_free: int
) -> list[RentOffer]:
    """Interruptible machines for `missing`, at most `n_free`: cheapest first, spread over places.

    Each must add to what is left after the insured losses; `total` is the capacity wanted in all.
    """
    if pool.autogroup is None:
        return []
    room = room_for_bids(pool, total, ctx) - bid_standby(pool, ctx)
    missing = min(missing, room)
    candidates = candidates_of(pool, ctx)
    places = shares_by_place(pool, ctx)
    sums, left = _held(pool, ctx), _insured(pool, ctx)
    rentals: list[RentOffer] = []
    while candidates and missing > 0 and len(rentals) < n_free:
        before = left(sums)
        adding = [c for c in candidates if _adds(c, sums, before, left)]
        if not adding:
            break
        best = min(adding, key=lambda c: _price(c, places, ctx))
        candidates = [
            c for c in candidates if c.item.offer.machine_id != best.item.offer.machine_id
        ]
        offer = best.item.offer
        sums[offer.geolocation, offer.gpu_type] += best.item.perf
        held = max(sum(sums.values()), 1e-9)
        places[best.place] = places.get(best.place, 0.0) + best.item.perf / held
        adds = left(sums) - before
        rentals.append(
            bid_rental(pool.autogroup.autogroup_id, best, candidates, missing=missing, adds=adds)
        )
        missing -= adds
    return rentals


def _adds(candidate: Candidate, sums: Sums, before: float, left: Callable[[Sums], float]) -> bool:
    offer = candidate.item.offer
    key = (offer.geolocation, offer.gpu_type)
    more = {**sums, key: sums.get(key, 0.0) + candidate.item.perf}
    return left(more) - before >= LEAST_ADDED * candidate.item.perf


def _price(candidate: Candidate, places: dict[str, float], ctx: Round) -> tuple[float, int]:
    usd = crowded_usd_per_hour(candidate, places)
    return usd / max(candidate.capacity, 1e-9), candidate.item.offer.offer_id
