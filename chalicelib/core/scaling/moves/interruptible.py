"""Interruptible machines: which to rent at which bid, how many may serve, which to return. Pure.

They serve first where their price with the cost of their losses is lower than that of a machine on
demand. How far they also stand in the pool for those: standby.py (docs/internals/scaling.md 12).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.fleet.set_aside import bid_start_key
from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.model.market import MAX_BID_USD, MAX_CHANGED_BID_USD, MIN_BID_USD
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import Action, ChangeBid, DestroyWorker, RentOffer, StartWorker
from chalicelib.core.scaling.hazard import (
    MARGINS,
    Bid,
    availability,
    loss_rate,
    loss_usd,
    place_of,
    return_rate,
)
from chalicelib.core.scaling.learning import UNKNOWN_SPEEDS
from chalicelib.core.scaling.memory import LEVELS, ScalingMemory, fleet_usd_per_hour
from chalicelib.core.scaling.moves.offers import MAX_ALTERNATIVES, RatedOffer, rate_offers
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.occupancy import service_s
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import WorkerFacts

MIN_KNOWN_S = 900.0  # of usage before the first bid: what a rank of the fleet saves is unknown
ROUNDED = 1.005  # 0.333 of three workers is one: shares are written with two or three digits
LOOK_INTERVAL_S = 60.0  # between two comparisons of the offers with the fleet
MAX_LOADING = 4  # interruptible machines on order at once
MAX_LOOKED_AT = 12  # offers whose saving is worked out, the best of each place first
HORIZON_H = 48.0  # over which a machine is expected to serve, at most
LIVES = 6.0  # and at most for so many of its stays: it comes back, or is returned
MIN_GAIN = 1.5  # expected saving over the cost of load and disk; what just pays is not worth it
LONE_GAIN = 4.0  # the same where one region has them all, as of any machine that is rented to save
# (orders.py): they stand in for nobody, and what just pays was rented again and again
PAUSED_WORTH = 0.5  # of an outbid machine's availability: it is known to be away now
CROWD = 1.0  # the cost of a loss grows by so much times the share of the fleet at one place
ON_DEMAND_RATIO = 2.0  # price on demand over the bid: half and less is common (Vast's documents)
RAISE_AFTER_S = 300.0  # outbid so long before more is bid
BID_STARTS = 3  # starts that may be refused before nobody but its bid brings a machine back
RAISES = (ReasonCode.BID_RAISED, ReasonCode.BID_STARTED)  # their failures are remembered apart
BELOW_ON_DEMAND = 0.9  # a bid is raised to at most this share of the fleet's price on demand


def mode_of(pool: Pool, ctx: Round) -> Interruptible:
    """Whether the pool's autogroup takes interruptible machines: its own word, else the group's."""
    own = pool.autogroup.interruptible if pool.autogroup is not None else None
    return own or ctx.snapshot.group.params.interruptible


def room_for_bids(pool: Pool, hot: float, ctx: Round) -> float:
    """Capacity of `hot` that interruptible machines may serve: what may vanish at once."""
    mode, share = mode_of(pool, ctx), ctx.snapshot.group.params.interruptible_share
    if mode is Interruptible.NEVER or share <= 0:
        return 0.0
    if mode is Interruptible.OVERFLOW:
        return min(share * hot, max(hot - base_load(ctx.beliefs.memory), 0.0))
    return share * hot if share < 1.0 else math.inf


def base_load(memory: ScalingMemory) -> float:
    """Capacity that is wanted at least half of the time."""
    reached = [level for level, share in zip(LEVELS, memory.usage, strict=False) if share >= 0.5]
    return max(reached, default=0.0) * memory.worker_perf


def within_room(workers: Iterable[WorkerFacts], room: float, ctx: Round) -> list[WorkerFacts]:
    """The workers without the interruptible ones that the room does not hold, in their order."""
    workers = list(workers)
    bids = sorted((w for w in workers if w.is_bid), key=lambda w: _rank(w, ctx))
    fit: set[int] = set()
    for worker in bids:
        capacity = ctx.capacity(worker)
        if capacity <= room * ROUNDED:
            fit.add(worker.instance_id)
            room -= capacity
    return [w for w in workers if not w.is_bid or w.instance_id in fit]


def _rank(worker: WorkerFacts, ctx: Round) -> tuple[bool, float, int]:
    """Those that serve keep their place; then by price."""
    return worker.state is not WorkerState.READY, ctx.usd_per_load(worker), worker.instance_id


# Renting.


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """An interruptible offer at its best bid."""

    item: RatedOffer  # the offer carries the bid
    place: str
    usd_per_hour: float  # the bid while it is there, the disk always, and what losses cost
    risk_usd_per_hour: float  # the last part of it
    capacity: float  # expected, times the share of the time in which it is there
    lost_per_hour: float


def is_look_due(pool: Pool, ctx: Round) -> bool:
    """Whether interruptible offers should be compared with the fleet now."""
    memory = ctx.beliefs.memory
    if pool.autogroup is None or mode_of(pool, ctx) is Interruptible.NEVER:
        return False
    is_known = memory.usage_s >= MIN_KNOWN_S and memory.worker_perf > 0
    is_rested = not 0 <= ctx.now - memory.bids_compared_at < LOOK_INTERVAL_S
    return is_known and is_rested and _n_loading(pool) < MAX_LOADING


def plan_bids(pool: Pool, ctx: Round, n_free: int, total: float = math.inf) -> list[RentOffer]:
    """Interruptible machines that save more than they cost, best first; at most `n_free`.

    No more than may serve of `total`, the capacity wanted in all: others would be stored only.
    """
    memory, autogroup = ctx.beliefs.memory, pool.autogroup
    if autogroup is None:
        return []
    memory.bids_compared_at = ctx.now
    candidates = _shortlist(candidates_of(pool, ctx))
    fleet = _fleet(pool, ctx)
    places = shares_by_place(pool, ctx)
    regions = {c.item.offer.geolocation for c in candidates}
    held = [w for w in pool.loaded + pool.booting + pool.paused if w.is_bid]
    regions |= {w.place for w in held}
    space = room_for_bids(pool, total, ctx) - sum(map(ctx.capacity, held))
    least = MIN_GAIN if len(regions) > 1 else LONE_GAIN
    rentals: list[RentOffer] = []
    n_left = min(MAX_LOADING - _n_loading(pool), n_free)
    while len(rentals) < n_left:
        candidates = [c for c in candidates if c.item.perf <= space * ROUNDED]
        if not candidates:
            break
        before = fleet_usd_per_hour(memory, fleet)
        rated = [(_net_usd(c, fleet, before, places, least, ctx), c) for c in candidates]
        (net, gain, cost), best = max(rated, key=lambda r: (r[0][0], -r[1].item.offer.offer_id))
        if net <= 0:
            break
        rest = [c for c in candidates if c.item.offer.machine_id != best.item.offer.machine_id]
        rentals.append(
            bid_rental(autogroup.autogroup_id, best, rest, expected_gain_usd=gain, cost_usd=cost)
        )
        fleet.append((crowded_usd_per_hour(best, places), best.capacity))
        places[best.place] = places.get(best.place, 0.0) + best.item.perf / _held(pool, ctx)
        candidates, space = rest, space - best.item.perf
    return rentals


def candidates_of(pool: Pool, ctx: Round) -> list[Candidate]:
    """Each interruptible offer at the bid that costs least for what it serves.

    None whose machine costs no more on demand: `min_bid` may rise above that price.
    """
    if pool.autogroup is None:
        return []
    held = {worker.machine_id for worker in ctx.snapshot.workers}
    rated = [
        item
        for item in rate_offers(pool.autogroup, ctx)
        if item.offer.is_bid and item.perf > 0 and item.offer.machine_id not in held
    ]
    bids = [[c for c in _at_each_bid(item, ctx) if _is_below_on_demand(c)] for item in rated]
    found = [min(worth, key=_per_capacity) for worth in bids if worth]
    return sorted(found, key=lambda c: (_per_capacity(c), c.item.offer.offer_id))


def _at_each_bid(item: RatedOffer, ctx: Round) -> list[Candidate]:
    memory, offer = ctx.beliefs.memory, item.offer
    place = place_of(offer.geolocation, offer.gpu_type)
    per_loss = loss_usd(
        ON_DEMAND_RATIO * offer.usd_per_hour,
        ctx.beliefs.start_time().median,
        service_s(memory),
    )
    found = []
    for margin in MARGINS:
        bid = Bid(place=place, machine_id=offer.machine_id, margin=margin)
        usd = max(offer.bid_usd_per_hour * margin, MIN_BID_USD)
        if usd > MAX_BID_USD:
            break
        extra = usd - offer.bid_usd_per_hour
        at_bid = replace(
            offer,
            bid_usd_per_hour=usd,
            bid_margin=margin,
            usd_per_hour=offer.usd_per_hour + extra,
        )
        lost_per_hour = loss_rate(memory, bid) * 3600.0
        there = availability(memory, bid)
        risk = lost_per_hour * per_loss * there
        found.append(
            Candidate(
                item=replace(item, offer=at_bid),
                place=place,
                usd_per_hour=_paid(at_bid.usd_per_hour, offer.storage_usd_per_hour, there) + risk,
                risk_usd_per_hour=risk,
                capacity=item.perf * there,
                lost_per_hour=lost_per_hour,
            )
        )
    return found


def _paid(usd_per_hour: float, storage_usd_per_hour: float, there: float) -> float:
    """What a machine costs an hour that is there for a part of the time; its disk stays."""
    return usd_per_hour * there + storage_usd_per_hour * (1.0 - there)


def _is_below_on_demand(candidate: Candidate) -> bool:
    """Whether the same machine on demand would be dearer for what is there; unknown = no bound."""
    on_demand = candidate.item.offer.on_demand_usd_per_hour
    return on_demand <= 0 or _per_capacity(candidate) * candidate.item.perf < on_demand


def _per_capacity(candidate: Candidate) -> float:
    return candidate.usd_per_hour / max(candidate.capacity, 1e-9)


def _shortlist(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best of every place first, then the next best, so that the choice is spread."""
    turn: dict[str, int] = {}
    keyed = []
    for index, candidate in enumerate(candidates):
        turn[candidate.place] = turn.get(candidate.place, 0) + 1
        keyed.append((turn[candidate.place], index, candidate))
    return [candidate for _, _, candidate in sorted(keyed, key=lambda k: k[:2])][:MAX_LOOKED_AT]


def _fleet(pool: Pool, ctx: Round) -> list[tuple[float, float]]:
    """(price, capacity) of what is held; of interruptible ones what is there on the average."""
    memory = ctx.beliefs.memory
    fleet = []
    for worker in pool.loaded + pool.booting + pool.paused:
        capacity, usd = ctx.capacity(worker), ctx.usd_per_hour(worker)
        if worker.is_bid:
            there = availability(memory, Bid.of_worker(worker))
            there *= PAUSED_WORTH if worker.state is WorkerState.PAUSED else 1.0
            capacity, usd = capacity * there, _paid(usd, worker.storage_usd_per_hour, there)
        fleet.append((usd, capacity))
    return fleet


def shares_by_place(pool: Pool, ctx: Round) -> dict[str, float]:
    """Each place's interruptible part of all capacity that is held."""
    total = _held(pool, ctx)
    found: dict[str, float] = {}
    for worker in pool.loaded + pool.booting:
        if worker.is_bid:
            place = place_of(worker.place, worker.gpu_type)
            found[place] = found.get(place, 0.0) + ctx.capacity(worker) / total
    return found


def _held(pool: Pool, ctx: Round) -> float:
    return max(sum(map(ctx.capacity, pool.loaded + pool.booting)), 1e-9)


def crowded_usd_per_hour(candidate: Candidate, places: dict[str, float]) -> float:
    """A candidate's price where many are lost at once: the more, the more is late."""
    share = min(places.get(candidate.place, 0.0), 1.0)
    return candidate.usd_per_hour + CROWD * share * candidate.risk_usd_per_hour


def _net_usd(
    candidate: Candidate,
    fleet: Sequence[tuple[float, float]],
    before: float,
    places: dict[str, float],
    least: float,
    ctx: Round,
) -> tuple[float, float, float]:
    """(net, gain, cost) in dollars over its stay; net per capacity, `least` times the cost off."""
    offer = candidate.item.offer
    price = crowded_usd_per_hour(candidate, places)
    life_h = min(HORIZON_H, LIVES / max(candidate.lost_per_hour, 1e-9))
    gain = 0.0
    for speed, weight in UNKNOWN_SPEEDS:
        machine = price, candidate.capacity * speed
        after = fleet_usd_per_hour(ctx.beliefs.memory, [*fleet, machine])
        gain += weight * max(before - after, 0.0) * life_h
    autogroup_id = next(a.autogroup_id for a in ctx.snapshot.autogroups)
    load_h = ctx.beliefs.load_time(autogroup_id).median / 3600.0
    cost = offer.usd_per_hour * load_h + offer.storage_usd_per_hour * life_h
    return (gain - least * cost) / candidate.capacity, gain, cost


def bid_rental(
    autogroup_id: int, best: Candidate, rest: Sequence[Candidate], **why: float
) -> RentOffer:
    """Its order, with those of `rest` at its place as alternatives; `why`: the reason's facts."""
    others = [c for c in rest if c.place == best.place][:MAX_ALTERNATIVES]
    facts: dict[str, float | int | str] = {
        "bid_usd_per_hour": best.item.offer.bid_usd_per_hour,
        "lost_per_hour": best.lost_per_hour,
        **why,
    }
    return RentOffer(
        autogroup_id=autogroup_id,
        offer=best.item.offer,
        reason=Reason(
            code=ReasonCode.BID_STANDBY if "missing" in why else ReasonCode.BID,
            facts=facts,
            beaten=tuple(str(c.item) for c in others),
        ),
        alternatives=tuple(c.item.offer for c in others),
    )


def _n_loading(pool: Pool) -> int:
    return sum(w.is_bid for w in pool.booting) + sum(r.is_bid for r in pool.rentals)


# Returning, and bidding more.


def plan_bid_returns(pool: Pool, ctx: Round, *, is_room_needed: bool) -> list[Action]:
    """Return what is outbid for longer than it is worth, or unused; one at once to make room."""
    if not ctx.may_destroy():
        return []
    actions: list[Action] = []
    for worker in pool.paused:
        paused_s = ctx.now - worker.state_since
        limit_s = paused_limit_s(worker, ctx)
        if paused_s > limit_s:
            facts = {"paused_s": paused_s, "limit_s": limit_s}
            actions.append(_return(worker, ReasonCode.OUTBID_LONG, facts))
    if is_room_needed and not actions:
        idle = [w for w in pool.stopped if w.is_bid]
        spare = pool.paused or sorted(idle, key=lambda w: (-ctx.usd_per_load(w), w.instance_id))
        actions += [_return(worker, ReasonCode.BID_MAKES_ROOM, {}) for worker in spare[:1]]
    return actions


def paused_limit_s(worker: WorkerFacts, ctx: Round) -> float:
    """How long an outbid machine is kept: while its disk costs less than loading another.

    Where its place gives machines back too slowly for that, it goes at once.
    """
    load_h = ctx.beliefs.load_time(worker.autogroup_id).median / 3600.0
    load_usd = worker.usd_per_hour * load_h
    storage = max(worker.storage_usd_per_hour, 1e-6)
    back_s = 1.0 / return_rate(ctx.beliefs.memory, place_of(worker.place, worker.gpu_type))
    limit_s = min(load_usd / storage, HORIZON_H) * 3600.0  # also where a disk costs nothing
    return limit_s if back_s <= 4.0 * limit_s else min(RAISE_AFTER_S, limit_s)


def plan_raises(pool: Pool, ctx: Round) -> list[Action]:
    """Bid more for the machine that was outbid longest, if it is still worth it.

    What was refused is tried again after a time that grows (core/fleet/set_aside.py). Else all
    whose bid was raised and whose start was refused are started.
    """
    set_aside = ctx.snapshot.set_aside
    paused = [
        worker
        for worker in sorted(pool.paused, key=lambda w: (w.state_since, w.instance_id))
        if set_aside.get(bid_start_key(worker.instance_id), 0.0) <= ctx.now
    ]
    unstarted = [w.instance_id for w in paused if 0 < w.n_start_refusals <= BID_STARTS]
    reason, higher = Reason(code=ReasonCode.BID_STARTED), _higher_bid(paused, pool, ctx)
    return higher or [StartWorker(instance_id=one, reason=reason) for one in unstarted]


def _higher_bid(paused: Sequence[WorkerFacts], pool: Pool, ctx: Round) -> list[Action]:
    on_demand = [w for w in pool.loaded if not w.is_bid]
    prices = [ctx.usd_per_load(worker) for worker in on_demand]
    for worker in paused:
        higher = [margin for margin in MARGINS if margin > worker.bid_margin * 1.01]
        capacity = ctx.capacity(worker)
        if not (higher and prices and capacity > 0 and worker.bid_usd_per_hour > 0):
            continue
        if not worker.gpu_type.startswith("1x "):
            continue  # a changed bid is per GPU by Vast's answer, per machine by its documents
        if ctx.now - worker.state_since < RAISE_AFTER_S:
            continue
        bid_usd = worker.bid_usd_per_hour * higher[0] / worker.bid_margin
        usd = worker.usd_per_hour + bid_usd - worker.bid_usd_per_hour
        usd += ctx.loss_usd_per_hour(replace(worker, bid_margin=higher[0]))
        if bid_usd > MAX_CHANGED_BID_USD or usd / capacity > BELOW_ON_DEMAND * min(prices):
            continue
        if 0 < worker.on_demand_usd_per_hour <= usd:
            continue  # the same machine costs no more on demand
        facts = {"bid_usd_per_hour": bid_usd, "before_usd_per_hour": worker.bid_usd_per_hour}
        reason = Reason(code=ReasonCode.BID_RAISED, facts=facts)
        return [ChangeBid(instance_id=worker.instance_id, bid_usd_per_hour=bid_usd, reason=reason)]
    return []


def _return(worker: WorkerFacts, code: ReasonCode, facts: dict[str, float]) -> DestroyWorker:
    return DestroyWorker(
        instance_id=worker.instance_id, reason=Reason(code=code, facts=dict(facts))
    )
