"""A round's rentals: for tests and for capacity, within the caps, or why there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.set_aside import autogroup_key, bids_key
from chalicelib.core.scaling.actions import RentOffer
from chalicelib.core.scaling.learning import UNKNOWN_SPEEDS
from chalicelib.core.scaling.memory import LEVELS, ScalingMemory, fleet_usd_per_hour
from chalicelib.core.scaling.moves.cold_pool import (
    RENT_INTERVAL_S,
    UNUSED_S,
    RentalRoom,
    addressable_soon,
    awaited_loads,
    held_capacity,
    open_room,
    plan_rentals,
    rent,
    settling,
)
from chalicelib.core.scaling.moves.deeds import SCOUT
from chalicelib.core.scaling.moves.interruptible import (
    HORIZON_H,
    LOOK_INTERVAL_S,
    is_look_due,
    plan_bids,
)
from chalicelib.core.scaling.moves.offers import (
    RatedOffer,
    first_per_machine,
    on_demand,
    rate_offers,
    why_unfit,
)
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.moves.shares import PoolShare
from chalicelib.core.scaling.moves.standby import (
    has_on_demand,
    least_lack,
    may_stand_in,
    plan_standby,
)
from chalicelib.core.scaling.occupancy import rest_load
from chalicelib.core.scaling.reasons import Reason, ReasonCode

UNMEASURED_AT_ONCE, UNMEASURED_SLOTS = 8, 4
"""While no worker is measured: a machine for each four who wait, eight at once (benchmark.md 2)."""


@dataclass(slots=True)
class Orders:
    """What to rent, what was not rented and why, and for whom offers are to be searched."""

    rentals: list[RentOffer] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)
    wants_offers: set[int] = field(default_factory=set)
    wants_bids: set[int] = field(default_factory=set)
    wants_looks: set[int] = field(default_factory=set)


def place_orders(pools: Sequence[Pool], shares: Sequence[PoolShare], ctx: Round) -> Orders:
    """Rentals for every active autogroup that is short of tests or capacity."""
    orders = Orders()
    room = open_room(pools, ctx)
    all_wanted = sum(share.total for share in shares)
    if not ctx.snapshot.may_fill_reserve:
        shares = [_without_reserve(share, ctx) for share in shares]
    is_stranded = ctx.snapshot.waiting.n > 0 and not any(_may_serve(pool, ctx) for pool in pools)
    for pool, share in zip(pools, shares, strict=True):
        if pool.autogroup is None or not pool.is_active:
            continue
        n_tests = tests_missing(pool, ctx)
        part = share.total / all_wanted if share.total > 0 else 0.0
        short = missing_capacity(pool, share.to_rent, part, ctx, is_stranded=is_stranded)
        missing = short
        if n_tests < 1 and missing > 0 and not is_stranded:
            missing -= _order_standby(pool, missing, share.total, ctx, room, orders)
        if n_tests > 0 or missing > 0:
            _order_for(pool, share, short, ctx, room, orders)
        elif share.total > 0 and not _why_not(pool.autogroup.autogroup_id, ctx):
            orders.rentals += plan_scouting(pool, ctx, room, orders)
        if n_tests < 1 and not _why_not(pool.autogroup.autogroup_id, ctx):
            _order_bids(pool, missing, share.total, ctx, room, orders)
    return orders


def _without_reserve(share: PoolShare, ctx: Round) -> PoolShare:
    """What must run alone: a reserve could not be parked, and would be returned unused."""
    hot = max(share.hot.capacity, share.hot.n_workers * ctx.beliefs.memory.worker_perf)
    return replace(share, total=min(share.total, hot))


def _order_bids(
    pool: Pool, missing: float, total: float, ctx: Round, room: RentalRoom, orders: Orders
) -> None:
    """Interruptible machines, if a look at them is due; what is missing on demand goes before."""
    if pool.autogroup is None or not is_look_due(pool, ctx):
        return
    autogroup_id = pool.autogroup.autogroup_id
    if _do_bids_rest(autogroup_id, ctx):
        return
    offers = ctx.snapshot.offers.get(autogroup_id, ())
    if not any(offer.is_bid for offer in offers):
        orders.wants_bids.add(autogroup_id)
        return
    kept = math.ceil(missing / ctx.beliefs.memory.worker_perf)
    for rental in plan_bids(pool, ctx, max(room.n_workers - kept, 0), total):
        if room.take(rental.offer.usd_per_hour):
            orders.rentals.append(rental)


def _order_standby(
    pool: Pool, missing: float, total: float, ctx: Round, room: RentalRoom, orders: Orders
) -> float:
    """Interruptible machines for what the pool lacks; how much of it they are expected to cover."""
    if pool.autogroup is None or not may_stand_in(pool, ctx):
        return 0.0
    autogroup_id = pool.autogroup.autogroup_id
    if _why_not(autogroup_id, ctx) or _do_bids_rest(autogroup_id, ctx):
        return 0.0
    offers = ctx.snapshot.offers.get(autogroup_id, ())
    if not any(offer.is_bid for offer in offers):
        orders.wants_bids.add(autogroup_id)
        return 0.0
    covered = 0.0
    for rental in plan_standby(pool, missing, total, ctx, room.n_workers):
        if room.take(rental.offer.usd_per_hour):
            orders.rentals.append(rental)
            covered += float(rental.reason.facts["adds"])
    return covered


def _do_bids_rest(autogroup_id: int, ctx: Round) -> bool:
    """Whether its bids came to nothing in a row lately; on demand it rents as ever."""
    return ctx.snapshot.set_aside.get(bids_key(autogroup_id), 0.0) > ctx.now


def _may_serve(pool: Pool, ctx: Round) -> bool:
    """Whether anything of a pool serves, or comes to serve soon."""
    return bool(
        pool.heard(pool.ready + pool.draining + pool.silent)
        or pool.starting
        or pool.stopping
        or pool.stopped
        or addressable_soon(pool, ctx)
        or awaited_loads(pool, ctx)
        or settling(pool, ctx)
    )


def missing_capacity(
    pool: Pool, total: float, part: float, ctx: Round, *, is_stranded: bool
) -> float:
    """Load per second still to be rented; machines, until a worker is measured.

    `part`: of the group's demand, the share that is this pool's.
    `is_stranded`: clients wait, and nobody of the group serves or comes: what is let to others, or
    outbid, is worth nothing to them.
    """
    if total <= 0:
        return 0.0
    if ctx.beliefs.memory.worker_perf <= 0:
        return max(_machines_missing(pool, part, ctx, is_stranded=is_stranded), 0)
    if is_stranded and pool.unheard:  # one: its reports will tell whether the others are lost
        return 0.5 * ctx.beliefs.memory.worker_perf
    if is_stranded and (pool.refused or pool.paused):
        return total
    missing = total - held_capacity(pool, ctx, total)
    least = rest_load(ctx.beliefs.memory)
    if any(worker.is_bid for worker in pool.loaded):
        least = max(least, least_lack(total, ctx))
        if not has_on_demand(pool, ctx):
            missing = max(missing, ctx.beliefs.memory.worker_perf)
    return missing if missing > least else 0.0


def _machines_missing(pool: Pool, part: float, ctx: Round, *, is_stranded: bool) -> int:
    """How many machines to rent while nobody knows what one serves: by who waits, and few.

    `part`: of those who wait, the share that is this pool's.
    """
    is_served = pool.loaded and not (is_stranded and (pool.refused or pool.paused))
    if is_served or addressable_soon(pool, ctx):
        return 0  # it is measured at once
    wanted = min(ctx.snapshot.waiting.n / UNMEASURED_SLOTS, UNMEASURED_AT_ONCE)
    awaited = len(settling(pool, ctx)) + len(awaited_loads(pool, ctx))
    return max(math.ceil(wanted * part), 1) - awaited


def _order_for(
    pool: Pool,
    share: PoolShare,
    missing: float,
    ctx: Round,
    room: RentalRoom,
    orders: Orders,
) -> None:
    if pool.autogroup is None:
        return
    autogroup_id = pool.autogroup.autogroup_id
    why_not = _why_not(autogroup_id, ctx)
    facts = {"autogroup_id": autogroup_id, "wanted": share.total}
    if why_not:
        orders.notes.append(Reason(code=why_not, facts=facts))
        return
    offers = ctx.snapshot.offers.get(autogroup_id)
    if not any(not offer.is_bid for offer in offers or ()):
        orders.wants_offers.add(autogroup_id)
        why_none = ReasonCode.NO_OFFERS
        if not ctx.snapshot.caps.free_workers:
            why_none = ReasonCode.CAP_WORKERS
        elif offers is None:  # not asked is not "none fits": the last search may have found many
            why_none = ReasonCode.NOT_SEARCHED
        orders.notes.append(Reason(code=why_none, facts=facts))
        return
    rented_at = ctx.beliefs.memory.rented_at.get(str(autogroup_id), -RENT_INTERVAL_S)
    if ctx.now - rented_at < RENT_INTERVAL_S:
        return
    if unfit := why_unfit(autogroup_id, ctx):
        orders.notes.append(Reason(code=ReasonCode.OFFERS_UNFIT, facts={**facts, **unfit}))
        return
    tests = plan_tests(pool, ctx, room)
    orders.rentals += [*tests, *plan_rentals(pool, missing, tests, ctx, room)]
    if room.refused:
        orders.notes.append(Reason(code=room.refused, facts=facts))


def _why_not(autogroup_id: int, ctx: Round) -> ReasonCode | None:
    """Why this autogroup may rent nothing now; None if it may."""
    snapshot = ctx.snapshot
    is_refused = snapshot.set_aside.get(autogroup_key(autogroup_id), 0.0) > ctx.now
    blocks = (
        (not snapshot.inventory_is_known, ReasonCode.INVENTORY_UNKNOWN),
        (snapshot.group.frozen, ReasonCode.FROZEN),
        (not snapshot.may_rent_anew, ReasonCode.RENTALS_BRAKED),
        (is_refused, ReasonCode.OFFERS_REFUSED),
        (not snapshot.caps.may_rent, ReasonCode.of(snapshot.caps.why_not or ReasonCode.CAP)),
        (autogroup_id in snapshot.open_breakers, ReasonCode.BREAKER_OPEN),
    )
    return next((why for holds, why in blocks if holds), None)


# Looking for better machines: renting one more when it should pay for its own load.
#
# Machines of a type differ in speed, and offers in price, by about 10 % each, and both last. A
# rental costs minutes of loading; a machine that turns out cheaper per load than those in use saves
# at its rank for as long as it lives. So the best offer is rented when its expected improvement
# (Mockus' criterion of Bayesian optimisation, over the unknown speed) is worth more than the load
# costs.

MIN_GAIN = 4.0  # expected saving over cost of looking
MIN_KNOWN_S = 1800.0  # of usage before the first look
MAX_LOOKS_PER_WORKER_HOUR = 0.4  # scaling.md 5
LEAST_IN_USE = 0.25  # typical workers, on the mean: what is hardly used saves nothing (chosen)
N_CANDIDATES = 4  # offers whose improvement is worked out


def plan_scouting(pool: Pool, ctx: Round, room: RentalRoom, orders: Orders) -> list[RentOffer]:
    """One rental, if some offer is worth a look now; where none is at hand, they are wanted."""
    memory, autogroup = ctx.beliefs.memory, pool.autogroup
    if autogroup is None or pool.on_order or memory.usage_s < MIN_KNOWN_S:
        return []
    fleet = [(ctx.usd_per_hour(w), ctx.capacity(w)) for w in pool.loaded]
    typical = max(fleet_size(memory.usage), 1.0)
    pause_s = 3600.0 / (MAX_LOOKS_PER_WORKER_HOUR * typical)
    if ctx.now - memory.scouted_at < pause_s or ctx.now - memory.compared_at < LOOK_INTERVAL_S:
        return []
    if autogroup.autogroup_id not in ctx.snapshot.offers:
        # A group at rest rents nothing, however cheap: its only cost is what it stores.
        if pool.ready and fleet_size(memory.usage) >= LEAST_IN_USE:
            orders.wants_looks.add(autogroup.autogroup_id)
        return []
    rated = first_per_machine(on_demand(rate_offers(autogroup, ctx)))[:N_CANDIDATES]
    gains = [(gain_usd(item, fleet, ctx), item) for item in rated if item.perf > 0]
    if not gains:
        return []
    memory.compared_at = ctx.now
    gain, best = max(gains, key=lambda pair: (pair[0], -pair[1].offer.offer_id))
    cost = look_usd(best, autogroup.autogroup_id, ctx)
    if gain < MIN_GAIN * cost or not room.take(best.offer.usd_per_hour):
        return []
    reason = Reason(code=SCOUT, facts={"expected_gain_usd": gain, "cost_usd": cost})
    return [rent(autogroup, best, [item for item in rated if item is not best], reason)]


def fleet_size(usage: Sequence[float]) -> float:
    """Mean number of typical workers in use, from the usage levels."""
    steps = zip(LEVELS, LEVELS[1:], usage, usage[1:], strict=False)
    return sum((high - low) * (a + b) / 2 for low, high, a, b in steps)


def gain_usd(item: RatedOffer, fleet: Sequence[tuple[float, float]], ctx: Round) -> float:
    """Expected saving of having this machine too, over the horizon."""
    memory = ctx.beliefs.memory
    before = fleet_usd_per_hour(memory, fleet)
    saving = 0.0
    for speed, weight in UNKNOWN_SPEEDS:
        machine = item.offer.usd_per_hour, item.perf * speed
        after = fleet_usd_per_hour(memory, [*fleet, machine])
        saving += weight * max(before - after, 0.0)
    return saving * HORIZON_H


def look_usd(item: RatedOffer, autogroup_id: int, ctx: Round) -> float:
    """What renting, loading and holding the machine costs before it serves."""
    load_h = ctx.beliefs.load_time(autogroup_id).quantile(0.5) / 3600.0
    storage = item.offer.storage_usd_per_hour * HORIZON_H / 4
    return item.offer.usd_per_hour * load_h + storage


# Renting to learn: the first test workers of an autogroup, on different machine types.

OPTIMISM = 1.0  # sd of log perf added when looking for something new (scaling.md 5)
TESTS_WAIT_S = UNUSED_S
"""So long after the first test has loaded, those that could not be had are waited for no more: by
then what is tested and unused is returned, and would be rented as a test again and again."""


def loads_needed(test_workers: int) -> int:
    """How many test workers must have loaded before an autogroup counts as explored."""
    return max(1, test_workers // 2)


def newly_explored(before: Mapping[str, object], after: Mapping[str, object]) -> list[int]:
    """Autogroups whose exploration ended between two memories of their group."""
    if before.get("explored") == after.get("explored"):
        return []
    ended = ScalingMemory.from_json(after).explored.keys()
    return sorted(int(key) for key in ended - ScalingMemory.from_json(before).explored.keys())


def tests_missing(pool: Pool, ctx: Round) -> int:
    """How many test workers are still to be rented; 0 once the exploration is over."""
    autogroup = pool.autogroup
    if autogroup is None or str(autogroup.autogroup_id) in ctx.beliefs.memory.explored:
        return 0
    return max(_tests_wanted(pool, ctx) - len(pool.loaded) - pool.on_order, 0)


def _tests_wanted(pool: Pool, ctx: Round) -> int:
    """As many as the owner asks for, and max_workers lets be held at once."""
    if pool.autogroup is None or not pool.is_active:
        return 0
    return min(pool.autogroup.test_workers, ctx.snapshot.group.params.max_workers)


def learn_explored(pools: Sequence[Pool], ctx: Round) -> None:
    """Note the autogroups whose exploration is over: enough loaded, and no more are to come."""
    for pool in pools:
        n_tests, n_loaded = _tests_wanted(pool, ctx), len(pool.loaded)
        if pool.autogroup is None or n_tests < 1:
            continue
        is_whole = n_loaded >= loads_needed(n_tests) and n_loaded + pool.on_order >= n_tests
        first_at = min((w.loaded_at for w in pool.loaded if w.loaded_at > 0), default=ctx.now)
        if is_whole or ctx.now - first_at > TESTS_WAIT_S:
            ctx.beliefs.memory.explored.setdefault(str(pool.autogroup.autogroup_id), ctx.now)


def plan_tests(pool: Pool, ctx: Round, room: RentalRoom) -> list[RentOffer]:
    """Rent the missing test workers, each on the most promising type not yet taken."""
    missing = tests_missing(pool, ctx)
    if missing < 1 or pool.autogroup is None:
        return []
    rated = first_per_machine(on_demand(rate_offers(pool.autogroup, ctx, optimism=OPTIMISM)))
    taken = {worker.gpu_type for worker in pool.loaded + pool.booting}
    taken |= {rental.gpu_type for rental in pool.rentals}
    actions: list[RentOffer] = []
    for item in spread_over_types(rated, taken):
        if len(actions) >= missing:
            break
        if room.take(item.offer.usd_per_hour):
            facts = {"test_workers": pool.autogroup.test_workers, "missing": missing}
            rest = [other for other in rated if other is not item]
            actions.append(
                rent(pool.autogroup, item, rest, Reason(code=ReasonCode.EXPLORE, facts=facts))
            )
    return actions


def spread_over_types(rated: Sequence[RatedOffer], taken: set[str]) -> list[RatedOffer]:
    """Offers reordered: the best of each type not taken first, then the rest as they were."""
    first: list[RatedOffer] = []
    rest: list[RatedOffer] = []
    seen = set(taken)
    for item in rated:
        (rest if item.offer.gpu_type in seen else first).append(item)
        seen.add(item.offer.gpu_type)
    return first + rest
