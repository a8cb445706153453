"""Renting to learn: the first test workers of an autogroup, on different machine types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.core.scaling.actions import Reason, RentOffer
from chalicelib.core.cold_pool import Budget, rent
from chalicelib.core.fleet import Pool, Round
from chalicelib.core.offers import RatedOffer, first_per_machine, rate_offers
from chalicelib.core.scaling.memory import ScalingMemory

OPTIMISM = 1.0  # sd of log perf added when looking for something new (autoscaling.md 6.3)


def loads_needed(test_workers: int) -> int:
    """How many test workers must have loaded before an autogroup counts as explored."""
    return max(1, test_workers // 2)


def newly_explored(before: Mapping[str, object], after: Mapping[str, object]) -> list[int]:
    """Autogroups whose exploration ended between two memories of their group."""
    ended = ScalingMemory.from_json(after).explored.keys()
    return sorted(int(key) for key in ended - ScalingMemory.from_json(before).explored.keys())


def tests_missing(pool: Pool, ctx: Round) -> int:
    """How many test workers are still to be rented; 0 once half of them have loaded."""
    autogroup = pool.autogroup
    if autogroup is None or not pool.is_active or autogroup.test_workers < 1:
        return 0
    memory, key = ctx.beliefs.memory, str(autogroup.autogroup_id)
    n_loaded = len(pool.loaded)
    is_enough = n_loaded >= loads_needed(autogroup.test_workers)
    if is_enough and n_loaded + pool.on_order >= autogroup.test_workers:
        memory.explored.setdefault(key, ctx.now)
    if key in memory.explored:
        return 0
    return max(autogroup.test_workers - n_loaded - pool.on_order, 0)


def plan_tests(pool: Pool, ctx: Round, budget: Budget) -> list[RentOffer]:
    """Rent the missing test workers, each on the most promising type not yet taken."""
    missing = tests_missing(pool, ctx)
    if missing < 1 or pool.autogroup is None:
        return []
    rated = first_per_machine(rate_offers(pool.autogroup, ctx, optimism=OPTIMISM))
    taken = {worker.gpu_type for worker in pool.loaded + pool.booting}
    taken |= {rental.gpu_type for rental in pool.rentals}
    actions: list[RentOffer] = []
    for item in spread_over_types(rated, taken):
        if len(actions) >= missing:
            break
        if budget.take(item.offer.usd_per_hour):
            facts = {"test_workers": pool.autogroup.test_workers, "missing": missing}
            rest = [other for other in rated if other is not item]
            actions.append(rent(pool.autogroup, item, rest, Reason(code="explore", facts=facts)))
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
