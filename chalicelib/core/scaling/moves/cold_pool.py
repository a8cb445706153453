"""How many machines to hold in all: rentals while short, returns of what is not worth its disk."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.model.market import Offer
from chalicelib.core.model.usable import USABLE_GRACE_S
from chalicelib.core.scaling.actions import Action, DestroyWorker, RentOffer
from chalicelib.core.scaling.moves.interruptible import mode_of, room_for_bids
from chalicelib.core.scaling.moves.offers import (
    MAX_ALTERNATIVES,
    RatedOffer,
    first_per_machine,
    on_demand,
    rate_offers,
)
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.moves.repair import is_moving
from chalicelib.core.scaling.moves.standby import bid_standby
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import PendingRental, WorkerFacts

SURPLUS = 1.2  # more than this times the total target is too much
BID_UNUSED_S = 4 * 3600.0  # an interruptible one: its disk costs a new load by then (scaling.md 3)
UNUSED_S = 3600.0  # a stopped worker is returned only after so long without use
MIN_ON_ORDER = 10  # machines on order at once, or as many as are loaded if those are more
# Dearer offers wait a round, since the market shows others soon; less so in need.
DEAREST_OVER_BEST, DEAREST_IN_NEED = 1.03, 1.2
RENT_INTERVAL_S = 4.0  # between two batches of an autogroup's rentals
REFUSED_WORTH = 0.3  # of a worker whose GPU is let to somebody else
SETTLES_S = (
    30.0  # assumed: what a lost answer rented is listed by then (`ballast probe` measures it)
)


@dataclass(slots=True)
class RentalRoom:
    """What the rest of a round may still commit; shared by all autogroups, first come."""

    n_workers: int
    usd_per_hour: float
    n_orders: int  # machines that may still be put on order
    refused: ReasonCode | None = None  # the cap that last refused a rental

    def take(self, usd_per_hour: float) -> bool:
        """Reserve one rental; False if it does not fit."""
        if self.n_workers < 1:
            self.refused = ReasonCode.CAP_WORKERS
        elif usd_per_hour > self.usd_per_hour:
            self.refused = ReasonCode.CAP_USD
        elif self.n_orders < 1:
            self.refused = ReasonCode.ENOUGH_ON_ORDER
        else:
            self.n_workers -= 1
            self.n_orders -= 1
            self.usd_per_hour -= usd_per_hour
            return True
        return False


def open_room(pools: Sequence[Pool], ctx: Round) -> RentalRoom:
    """The caps of this round: max_workers over every state, pending rentals included."""
    snapshot = ctx.snapshot
    held = len(snapshot.workers) + len(snapshot.rentals)
    free = min(snapshot.group.params.max_workers - held, snapshot.caps.free_workers)
    n_loaded = sum(len(pool.loaded) for pool in pools)
    on_order = sum(pool.on_order for pool in pools)
    return RentalRoom(
        n_workers=free,
        usd_per_hour=snapshot.caps.free_usd_per_hour,
        n_orders=max(MIN_ON_ORDER, n_loaded) - on_order,
    )


def held_capacity(
    pool: Pool, ctx: Round, total: float = math.inf, gone: Collection[int] = ()
) -> float:
    """Capacity that is there or on order, each machine by its odds of serving; without `gone`.

    Interruptible machines count as far as they are left after the losses that are insured, and at
    most for their share of `total`, the capacity wanted in all.
    """
    sure = pool.ready + pool.draining + pool.starting + pool.stopping + pool.stopped
    sure += pool.hoped_for(ctx.now) + addressable_soon(pool, ctx)
    capacity = sum(
        ctx.capacity(worker)
        for worker in sure
        if not worker.is_bid and worker.instance_id not in gone
    )
    capacity += REFUSED_WORTH * sum(map(ctx.capacity, pool.refused))
    standby = min(bid_standby(pool, ctx, gone), room_for_bids(pool, total, ctx))
    return capacity + on_order_capacity(pool, ctx) + standby


def on_order_capacity(pool: Pool, ctx: Round) -> float:
    """Capacity of machines that load or are being rented, times their boot odds."""
    beliefs = ctx.beliefs
    total = 0.0
    for worker in awaited_loads(pool, ctx):
        if worker.is_bid:
            continue
        odds = beliefs.boot_odds(worker.autogroup_id, worker.gpu_type)
        total += odds * ctx.capacity(worker)
    for rental in settling(pool, ctx):
        perf = beliefs.perf_of(rental.autogroup_id, rental.gpu_type, rental.dlperf)
        odds = beliefs.boot_odds(rental.autogroup_id, rental.gpu_type)
        total += odds * (perf if perf > 0 else beliefs.memory.worker_perf)
    return total


def addressable_soon(pool: Pool, ctx: Round) -> list[WorkerFacts]:
    """Workers that are ready and whose address a listing may still show."""
    return [w for w in pool.unreachable if ctx.now - w.state_since <= USABLE_GRACE_S]


def settling(pool: Pool, ctx: Round) -> list[PendingRental]:
    """Rentals that are counted on: not one whose call ended long ago without a clear answer.

    That one still counts against every cap, but another is rented beside it.
    """
    return [
        rental
        for rental in pool.rentals
        if not rental.is_bid and (not rental.is_unsettled or ctx.now - rental.begun_at <= SETTLES_S)
    ]


def awaited_loads(pool: Pool, ctx: Round) -> list[WorkerFacts]:
    """Loading machines that are counted on: not a late one that nobody could stand in for.

    It is given up only at its time-out, minutes later; meanwhile another is rented beside it.
    """
    could_serve = pool.ready + pool.draining + pool.starting + pool.stopping + pool.stopped
    if could_serve or pool.on_order > 1:
        return pool.booting
    return [
        worker for worker in pool.booting if is_moving(worker, ctx.now) or not _is_late(worker, ctx)
    ]


def _is_late(worker: WorkerFacts, ctx: Round) -> bool:
    late_s = ctx.beliefs.late_load_s(worker.autogroup_id, worker.load_s)
    return ctx.now - ctx.beliefs.load_began_at(worker) > late_s


def plan_rentals(
    pool: Pool, missing: float, tests: Sequence[RentOffer], ctx: Round, room: RentalRoom
) -> list[RentOffer]:
    """Rent the best offers for the missing capacity, within the room; `tests` count already.

    `missing`: load per second, or machines while no worker is measured.
    """
    if pool.autogroup is None:
        return []
    taken = {action.offer.machine_id for action in tests}
    missing -= sum(_expected(action.offer, pool.autogroup, ctx) for action in tests)
    rated = [
        item
        for item in first_per_machine(on_demand(rate_offers(pool.autogroup, ctx)))
        if item.offer.machine_id not in taken
    ]
    dearest = DEAREST_IN_NEED if ctx.beliefs.memory.starved else DEAREST_OVER_BEST
    rated = [item for item in rated if item.score <= dearest * rated[0].score]
    rentals: list[RentOffer] = []
    for index, item in enumerate(rated):
        if missing <= 0:
            break
        if room.take(item.offer.usd_per_hour):
            facts = {"missing": missing, "expected_perf": item.perf}
            is_measured = ctx.beliefs.memory.worker_perf > 0  # else machines are missing, not load
            code = ReasonCode.COLD_SHORT if is_measured else ReasonCode.UNMEASURED
            reason = Reason(code=code, facts=facts)
            rentals.append(rent(pool.autogroup, item, rated[index + 1 :], reason))
            missing -= _expected(item.offer, pool.autogroup, ctx)
    return rentals


def _expected(offer: Offer, autogroup: Autogroup, ctx: Round) -> float:
    """Capacity to expect of a rental, counting that it may fail; one machine if unknown."""
    beliefs = ctx.beliefs
    perf = beliefs.perf_of(autogroup.autogroup_id, offer.gpu_type, offer.dlperf)
    if perf <= 0:
        return 1.0
    return perf * beliefs.boot_odds(autogroup.autogroup_id, offer.gpu_type)


def rent(
    autogroup: Autogroup, item: RatedOffer, rest: Sequence[RatedOffer], reason: Reason
) -> RentOffer:
    """A rental with its alternatives, and what it beat."""
    beaten = tuple(str(other) for other in rest[:MAX_ALTERNATIVES])
    return RentOffer(
        autogroup_id=autogroup.autogroup_id,
        offer=item.offer,
        reason=Reason(
            code=reason.code, facts={**reason.facts, "ready": item.readiness}, beaten=beaten
        ),
        alternatives=tuple(other.offer for other in rest[:MAX_ALTERNATIVES]),
    )


def plan_returns(pool: Pool, total_target: float, keep_loaded: int, ctx: Round) -> list[Action]:
    """Destroy stopped workers that are unused, surplus and above the retention floor."""
    if not ctx.may_destroy():
        return []
    n_loaded = sum(not worker.is_bid for worker in pool.loaded)
    if mode_of(pool, ctx) is not Interruptible.NEVER and total_target > 0:
        keep_loaded = max(keep_loaded, 1)
    if held_capacity(pool, ctx, total_target) < SURPLUS * total_target:
        return []  # nor is there a surplus without one of them
    gone: list[int] = []
    actions: list[Action] = []
    order = sorted(pool.stopped, key=lambda w: (-ctx.usd_per_load(w), w.instance_id))
    for index, worker in enumerate(order):
        unused_s = ctx.now - worker.state_since
        if unused_s < (BID_UNUSED_S if worker.is_bid else UNUSED_S):
            continue
        if not worker.is_bid and n_loaded <= keep_loaded:
            continue
        rest = held_capacity(pool, ctx, total_target, (*gone, worker.instance_id))
        if rest < SURPLUS * total_target:
            continue
        facts = {"wanted": total_target, "left": rest, "unused_s": unused_s}
        reason = Reason(
            code=ReasonCode.BID_UNUSED if worker.is_bid else ReasonCode.COLD_SURPLUS,
            facts=facts,
            beaten=_described(order[index + 1 : index + 4], ctx),
        )
        actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
        gone.append(worker.instance_id)
        n_loaded -= not worker.is_bid
    return actions


def _described(workers: Sequence[WorkerFacts], ctx: Round) -> tuple[str, ...]:
    return tuple(
        f"{worker.instance_id}: ${ctx.usd_per_load(worker):.3g} per unit" for worker in workers
    )
