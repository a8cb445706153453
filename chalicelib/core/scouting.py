"""Looking for better machines: renting one more when it should pay for its own load.

Machines of a type differ in speed, and offers in price, by about 10 % each, and both last. A rental
costs minutes of loading; a machine that turns out cheaper per load than those in use saves at its
rank for as long as it lives. So the best offer is rented when its expected improvement (Mockus'
criterion of Bayesian optimisation, over the unknown speed) is worth more than the load costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from chalicelib.core.scaling.actions import Reason, RentOffer
from chalicelib.core.cold_pool import Budget, rent
from chalicelib.core.fleet import Pool, Round
from chalicelib.core.scaling.learning import PERF_NOISE_SD
from chalicelib.core.offers import RatedOffer, first_per_machine, rate_offers
from chalicelib.core.scaling.memory import LEVELS, fleet_usd_per_hour

HORIZON_H = 48.0  # over which a better machine is expected to serve
MIN_GAIN = 4.0  # expected saving over cost of looking
MIN_KNOWN_S = 1800.0  # of usage before the first look
MAX_LOOKS_PER_WORKER_HOUR = 0.4
LOOK_INTERVAL_S = 60.0  # between two comparisons of the offers with the fleet
N_CANDIDATES = 4  # offers whose improvement is worked out
SPREAD = ((-1.22, 0.3), (0.0, 0.4), (1.22, 0.3))  # three points of a normal, with weights


def plan_scouting(pool: Pool, ctx: Round, budget: Budget) -> list[RentOffer]:
    """One rental, if some offer is worth a look now."""
    memory, autogroup = ctx.beliefs.memory, pool.autogroup
    if autogroup is None or pool.on_order or memory.usage_s < MIN_KNOWN_S:
        return []
    fleet = [(w.usd_per_hour, ctx.capacity(w)) for w in pool.loaded]
    typical = max(fleet_size(memory.usage), 1.0)
    pause_s = 3600.0 / (MAX_LOOKS_PER_WORKER_HOUR * typical)
    if ctx.now - memory.scouted_at < pause_s or ctx.now - memory.compared_at < LOOK_INTERVAL_S:
        return []
    rated = first_per_machine(rate_offers(autogroup, ctx))[:N_CANDIDATES]
    gains = [(gain_usd(item, fleet, ctx), item) for item in rated if item.perf > 0]
    if not gains:
        return []
    memory.compared_at = ctx.now
    gain, best = max(gains, key=lambda pair: (pair[0], -pair[1].offer.offer_id))
    cost = look_usd(best, autogroup.autogroup_id, ctx)
    if gain < MIN_GAIN * cost or not budget.take(best.offer.usd_per_hour):
        return []
    memory.scouted_at = ctx.now
    reason = Reason(code="scout", facts={"expected_gain_usd": gain, "cost_usd": cost})
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
    for z, weight in SPREAD:
        perf = item.perf * math.exp(z * PERF_NOISE_SD)
        after = fleet_usd_per_hour(memory, [*fleet, (item.offer.usd_per_hour, perf)])
        saving += weight * max(before - after, 0.0)
    return saving * HORIZON_H


def look_usd(item: RatedOffer, autogroup_id: int, ctx: Round) -> float:
    """What renting, loading and holding the machine costs before it serves."""
    load_h = ctx.beliefs.load_time(autogroup_id).quantile(0.5) / 3600.0
    storage = item.offer.storage_usd_per_hour * HORIZON_H / 4
    return item.offer.usd_per_hour * load_h + storage
