"""How a group's targets are split among its autogroups: by tier, then exactly by weight.

The lowest tier serves everything; the next one is asked only for what the machines of the tiers
below cannot serve now (promises.md 54-56). Machines are rented for the lowest tier that can
rent; higher tiers hold their test workers for the overflow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.core.model.autogroup import pools_of
from chalicelib.core.scaling.law import Targets
from chalicelib.core.scaling.moves.hot_pool import CapacityGoal, startable
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.snapshot import WorkerFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolShare:
    """One autogroup's part of the targets."""

    hot: CapacityGoal
    total: float  # capacity to hold in all, load per second
    to_rent: float  # of it what is rented for
    keep_loaded: int  # never destroy below this many loaded workers


def share_out(pools: Sequence[Pool], targets: Targets, ctx: Round) -> list[PoolShare]:
    """A share for each pool, in the order of `pools` (by tier, then id)."""
    hot = _hot_shares(pools, targets.hot, ctx)
    renters = _renters(pools, ctx)
    total_weight = sum(_weight(pools[i]) for i in renters)
    first = next((i for i, pool in enumerate(pools) if _weight(pool) > 0), None)
    shares = []
    for i, pool in enumerate(pools):
        part = _weight(pool) / total_weight if i in renters else 0.0
        floor = math.ceil(targets.keep_loaded * part)
        tests = pool.autogroup.test_workers if pool.autogroup and pool.is_active else 0
        wish = CapacityGoal(
            capacity=hot[i],
            n_workers=targets.min_ready if i == first else 0,
            binding=targets.binding,
        )
        is_spare = pool.is_active and i not in renters
        keep = max(floor, tests) if is_spare else floor
        shares.append(
            PoolShare(
                hot=wish,
                total=targets.total * part,
                to_rent=targets.to_rent * part,
                keep_loaded=keep,
            )
        )
    return shares


def _weight(pool: Pool) -> float:
    return pool.autogroup.weight if pool.autogroup is not None and pool.is_active else 0.0


def _renters(pools: Sequence[Pool], ctx: Round) -> list[int]:
    """The pools of the lowest tier in which anything can be rented."""
    usable = [
        i
        for i, pool in enumerate(pools)
        if _weight(pool) > 0
        and pool.autogroup is not None
        and pool.autogroup.autogroup_id not in ctx.snapshot.open_breakers
    ]
    if not usable:
        usable = [i for i, pool in enumerate(pools) if _weight(pool) > 0]
    lowest = min((_tier(pools[i]) for i in usable), default=0)
    return [i for i in usable if _tier(pools[i]) == lowest]


def _tier(pool: Pool) -> int:
    return pool.autogroup.tier if pool.autogroup is not None else 0


def _hot_shares(pools: Sequence[Pool], hot: float, ctx: Round) -> list[float]:
    """Hot capacity asked of each pool: its weight's part, and what its neighbours cannot give."""
    shares = [0.0] * len(pools)
    left = hot
    tiers = sorted({_tier(pool) for pool in pools if _weight(pool) > 0})
    for tier in tiers:
        members = [i for i, pool in enumerate(pools) if _weight(pool) > 0 and _tier(pool) == tier]
        if tier == tiers[-1] and len(members) == 1:
            shares[members[0]] = left
            return shares
        parts = pools_of([(i, _weight(pools[i])) for i in members])
        total_weight = sum(weight for _, weight in parts)
        able = [sum(servable(pools[i], ctx) for i in indexes) for indexes, _ in parts]
        wanted = [
            min(left * weight / total_weight, most)
            for (_, weight), most in zip(parts, able, strict=True)
        ]
        missing = max(left - sum(wanted), 0.0)
        for k, (indexes, _) in enumerate(parts):  # a neighbour that is down is stood in for
            extra = min(missing, able[k] - wanted[k])
            missing -= extra
            _split(indexes, wanted[k] + extra, pools, ctx, shares)
        left = max(missing, 0.0)
    return shares


def _split(
    indexes: Sequence[int], hot: float, pools: Sequence[Pool], ctx: Round, shares: list[float]
) -> None:
    """Give autogroups that are one pool what their cheapest machines serve, those up first."""
    if len(indexes) == 1:
        shares[indexes[0]] = hot
        return
    machines = [
        (is_cold, ctx.usd_per_load(worker), worker.instance_id, ctx.capacity(worker), i)
        for i in indexes
        for is_cold, workers in enumerate((_up(pools[i]), startable(pools[i])))
        for worker in workers
    ]
    for _, _, _, capacity, i in sorted(machines):
        part = min(capacity, hot)
        shares[i] += part
        hot -= part


def servable(pool: Pool, ctx: Round) -> float:
    """Capacity that the pool's machines can serve with soon, started or not."""
    return sum(map(ctx.capacity, _up(pool) + startable(pool)))


def _up(pool: Pool) -> list[WorkerFacts]:
    return pool.serving + pool.draining + pool.starting
