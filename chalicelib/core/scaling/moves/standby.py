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
GOES_WITHIN_S = 120.0  # chosen: two rounds; a destroyed machine is gone for a cap once not listed
LEAST_LACK = 0.05  # of the pool: what such losses leave is known no better


def n_places_insured(slo_target: float) -> int:
    """How many places may be lost at once without a lack: one for 99 %, two for 99.9 %.

    Another load takes minutes: one place too many, once a day, makes some 0.3 % of a day late.
    """
    nines = -math.log10(max(1.0 - slo_target, 1e-6))
    return max(round(nines) - 1, 1)


def bid_standby(pool: Pool, ctx: Round, gone: Collection[int] = ()) -> float:
    """Capacity of interruptible machines that is left after the insured losses, or those of now.

    Outbid machines are held, too: the larger loss counts, so that a small place that is away, comes
    back, or is given up changes nothing. `gone` are left out. Two places or more are insured
    together with all machines of one GPU type.
    """
    standby = _insured(pool, ctx, gone)(_held(pool, ctx, gone))
    return standby + sum(_expected(rental, ctx) for rental in pool.rentals if rental.is_bid)


def places_away(pool: Pool) -> set[str]:
    """Places where machines are outbid and none is up."""
    up = {w.place for w in pool.ready + pool.draining + pool.starting if w.is_bid}
    return {w.place for w in pool.paused} - up


def takes_the_cap(pool: Pool, hot: float, ctx: Round) -> bool:
    """Whether outbid machines hold the dollars that the lack of capacity to serve needs.

    A cap counts them as if they ran, so that they may come back at any time. Nothing is on its way,
    and neither a start nor a rental on demand would fit.
    """
    caps, up = ctx.snapshot.caps, pool.serving + pool.draining + pool.starting
    is_ours = caps.why_not in ("", caps.bound_by)  # not frozen, in doubt, without credit
    if not pool.paused or not is_ours or sum(map(ctx.capacity, up)) >= hot * (1 - 1e-9):
        return False
    makes_room = [w for w in pool.leaving if w.is_bid and ctx.now - w.state_since < GOES_WITHIN_S]
    if pool.booting or pool.rentals or makes_room:
        return False
    own = [ctx.usd_per_hour(worker) for worker in pool.stopped if not worker.is_bid]
    anew = [max(w.on_demand_usd_per_hour, ctx.usd_per_hour(w)) for w in pool.paused]
    return caps.free_usd_per_hour < min(own or anew)


def _bids(pool: Pool, ctx: Round, gone: Collection[int]) -> list[WorkerFacts]:
    held = pool.ready + pool.draining + pool.starting + pool.stopping + pool.stopped + pool.booting
    held += pool.paused + pool.hoped_for(ctx.now)
    return [w for w in held if w.is_bid and w.instance_id not in gone]


def _held(pool: Pool, ctx: Round, gone: Collection[int] = ()) -> Sums:
    """The capacity of interruptible machines by (place, GPU type), outbid or not."""
    sums: Sums = defaultdict(float)
    for worker in _bids(pool, ctx, gone):
        sums[worker.place, worker.gpu_type] += ctx.capacity(worker)
    return sums


def _insured(pool: Pool, ctx: Round, gone: Collection[int] = ()) -> Callable[[Sums], float]:
    """What is left of capacities after the losses that are insured, or after those of now."""
    n_places = n_places_insured(ctx.snapshot.group.params.slo_target)
    away, outbid = places_away(pool), {w.instance_id for w in pool.paused}
    lost = [w for w in _bids(pool, ctx, gone) if w.place in away or w.instance_id in outbid]
    lost_now = sum(map(ctx.capacity, lost))
    return lambda sums: sum(sums.values()) - max(_insured_loss(sums, n_places), lost_now)


def _insured_loss(sums: Sums, n_places: int) -> float:
    """The capacity by (place, type) of the largest places, or from two on of the largest type."""
    lost = sum(_sums_of(sums, 0)[:n_places])
    return max([lost, *_sums_of(sums, 1)[:1]]) if n_places > 1 else lost


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
    """Whether what the pool lacks may be rented at bids: unless requests wait for what was outbid.

    One machine on demand is held in any case, for those who insist on one.
    """
    memory = ctx.beliefs.memory
    mode = mode_of(pool, ctx)
    if pool.autogroup is None or mode is Interruptible.NEVER or memory.worker_perf <= 0:
        return False
    if mode is Interruptible.OVERFLOW and memory.usage_s < MIN_KNOWN_S:
        return False  # what is wanted half of the time is not known yet
    return has_on_demand(pool, ctx) and not (memory.starved > 0 and pool.paused)


def has_on_demand(pool: Pool, ctx: Round) -> bool:
    """Whether a machine on demand is held or on order.

    While requests that insist on one wait, one whose GPU is let to somebody else is none.
    """
    refused = pool.refused if ctx.snapshot.waiting.on_demand_load > 0 else []
    held = [w for w in pool.loaded + pool.booting if w not in refused]
    return any(not w.is_bid for w in held) or any(not r.is_bid for r in pool.rentals)


def least_lack(total: float, ctx: Round) -> float:
    """Below this a pool of `total` with interruptible machines lacks nothing worth a rental."""
    return min(LEAST_ADDED * ctx.beliefs.memory.worker_perf, LEAST_LACK * total)


def plan_standby(
    pool: Pool, missing: float, total: float, ctx: Round, n_free: int
) -> list[RentOffer]:
    """Interruptible machines for `missing`, at most `n_free`: cheapest first, spread over places.

    Each must add to what is left after the insured losses, or to less than the largest of them: in
    an empty pool the first machines are those that may be lost. `total` is the capacity wanted in
    all. None, if all of them together add nothing.
    """
    if pool.autogroup is None:
        return []
    room = room_for_bids(pool, total, ctx) - bid_standby(pool, ctx)
    missing = min(missing, room)
    candidates = candidates_of(pool, ctx)
    places = shares_by_place(pool, ctx)
    sums, left = _held(pool, ctx), _insured(pool, ctx)
    begun = left(sums)
    n_idle = n_places_insured(ctx.snapshot.group.params.slo_target)
    rentals: list[RentOffer] = []
    while candidates and missing > 0 and len(rentals) < n_free:
        before = left(sums)
        usable = [c for c in candidates if _adds(c, sums, before, left)]
        if not usable and n_idle > 0:
            n_idle -= 1
            largest = max(_sums_of(sums, 0), default=math.inf)
            usable = [c for c in candidates if _at_place(c, sums) < largest]
        if not usable:
            break
        best = min(usable, key=lambda c: _price(c, places, ctx))
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
    return rentals if left(sums) > begun else []


def _at_place(candidate: Candidate, sums: Sums) -> float:
    """What is held at a candidate's region."""
    place = candidate.item.offer.geolocation
    return sum(capacity for key, capacity in sums.items() if key[0] == place)


def _adds(candidate: Candidate, sums: Sums, before: float, left: Callable[[Sums], float]) -> bool:
    offer = candidate.item.offer
    key = (offer.geolocation, offer.gpu_type)
    more = {**sums, key: sums.get(key, 0.0) + candidate.item.perf}
    return left(more) - before >= LEAST_ADDED * candidate.item.perf


def _price(candidate: Candidate, places: dict[str, float], ctx: Round) -> tuple[float, int]:
    usd = crowded_usd_per_hour(candidate, places)
    return usd / max(candidate.capacity, 1e-9), candidate.item.offer.offer_id
