"""A round's rentals: for tests and for capacity, within the caps, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib.core.scaling.actions import Reason, RentOffer
from chalicelib.core.cold_pool import (
    RENT_INTERVAL_S,
    Budget,
    awaited_loads,
    held_capacity,
    open_budget,
    plan_rentals,
)
from chalicelib.core.exploration import plan_tests, tests_missing
from chalicelib.core.fleet import Pool, Round
from chalicelib.core.scouting import plan_scouting
from chalicelib.core.shares import PoolShare


@dataclass(slots=True)
class Orders:
    """What to rent, what was not rented and why, and for whom offers are to be searched."""

    rentals: list[RentOffer] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)
    wants_offers: set[int] = field(default_factory=set)


def place_orders(pools: Sequence[Pool], shares: Sequence[PoolShare], ctx: Round) -> Orders:
    """Rentals for every active autogroup that is short of tests or capacity."""
    orders = Orders()
    budget = open_budget(pools, ctx)
    for pool, share in zip(pools, shares, strict=True):
        if pool.autogroup is None or not pool.is_active:
            continue
        n_tests = tests_missing(pool, ctx)
        missing = missing_capacity(pool, share.total, ctx)
        if n_tests > 0 or missing > 0:
            _order_for(pool, share, ctx, budget, orders)
        elif share.total > 0 and not _why_not(pool.autogroup.autogroup_id, ctx):
            orders.rentals += plan_scouting(pool, ctx, budget)
    return orders


def missing_capacity(pool: Pool, total: float, ctx: Round) -> float:
    """Load per second still to be rented; until a worker is measured, one machine at a time."""
    if total <= 0:
        return 0.0
    if ctx.beliefs.memory.worker_perf <= 0:
        return 0.0 if pool.loaded or pool.rentals or awaited_loads(pool, ctx) else total
    missing = total - held_capacity(pool, ctx)
    return missing if missing > total * 1e-9 else 0.0


def _order_for(pool: Pool, share: PoolShare, ctx: Round, budget: Budget, orders: Orders) -> None:
    if pool.autogroup is None:
        return
    autogroup_id = pool.autogroup.autogroup_id
    why_not = _why_not(autogroup_id, ctx)
    facts = {"autogroup_id": autogroup_id, "wanted": share.total}
    if why_not:
        orders.notes.append(Reason(code=why_not, facts=facts))
        return
    if not ctx.snapshot.offers.get(autogroup_id):
        orders.wants_offers.add(autogroup_id)
        orders.notes.append(Reason(code="no_offers", facts=facts))
        return
    rented_at = ctx.beliefs.memory.rented_at
    key = str(autogroup_id)
    if ctx.now - rented_at.get(key, -RENT_INTERVAL_S) < RENT_INTERVAL_S:
        return
    tests = plan_tests(pool, ctx, budget)
    missing = missing_capacity(pool, share.total, ctx)
    rentals = [*tests, *plan_rentals(pool, missing, tests, ctx, budget)]
    orders.rentals += rentals
    if rentals:
        rented_at[key] = ctx.now
    if budget.refused:
        orders.notes.append(Reason(code=budget.refused, facts=facts))


def _why_not(autogroup_id: int, ctx: Round) -> str:
    """Why this autogroup may rent nothing now; empty if it may."""
    snapshot = ctx.snapshot
    if not snapshot.inventory_is_known:
        return "inventory_unknown"
    if snapshot.group.frozen:
        return "frozen"
    if not snapshot.caps.may_rent:
        return snapshot.caps.why_not or "cap"
    if autogroup_id in snapshot.open_breakers:
        return "breaker_open"
    return ""
