"""The scaling decision: one pure function from a snapshot and a memory to a plan.

The same snapshot, memory and time give the same plan, byte for byte, in any process and whatever
the order of the snapshot's parts. docs/internals/scaling.md explains the law.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.market import Offer
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import (
    Action,
    DestroyWorker,
    DrainWorker,
    RebootWorker,
    RentOffer,
    StopWorker,
)
from chalicelib.core.scaling.hazard import MAX_GAP_S
from chalicelib.core.scaling.law import (
    Targets,
    knob_for,
    learn_caution,
    raise_young_caution,
    set_targets,
    unbuffered,
    zero_targets,
)
from chalicelib.core.scaling.learning import Beliefs, learn
from chalicelib.core.scaling.memory import ScalingMemory, forget_guesses, note_usage
from chalicelib.core.scaling.moves.cold_pool import held_capacity, plan_returns
from chalicelib.core.scaling.moves.hot_pool import plan_hot
from chalicelib.core.scaling.moves.interruptible import plan_bid_returns, plan_raises
from chalicelib.core.scaling.moves.orders import Orders, learn_explored, place_orders
from chalicelib.core.scaling.moves.pools import Pool, Round, sort_into_pools
from chalicelib.core.scaling.moves.repair import (
    dismiss,
    end_stuck,
    finish_drains,
    park_all,
    repair_broken,
)
from chalicelib.core.scaling.moves.shares import PoolShare, servable, share_out
from chalicelib.core.scaling.moves.standby import takes_the_cap
from chalicelib.core.scaling.moves.trim import plan_trim
from chalicelib.core.scaling.occupancy import Demand, measure_demand, rest_load, service_s
from chalicelib.core.scaling.reasons import ReasonCode
from chalicelib.core.scaling.snapshot import GroupSnapshot, ScalingPlan, WorkerFacts


def decide_scaling(
    snapshot: GroupSnapshot, memory: Mapping[str, object], now: float
) -> ScalingPlan:
    """What a round wants done for one endpoint group, and the memory for the next round."""
    return draft_scaling(snapshot, memory, now).with_offers(snapshot.offers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A decision but for its orders: all that no offer can change."""

    ctx: Round
    demand: Demand
    targets: Targets
    pools: Sequence[Pool]
    shares: Sequence[PoolShare]
    actions: tuple[Action, ...]

    def with_offers(self, offers: Mapping[int, tuple[Offer, ...]]) -> ScalingPlan:
        """The whole plan; `offers` by autogroup: of those that were searched for."""
        state = replace(self.ctx.beliefs.memory)  # orders note moments, in this copy
        snapshot = replace(self.ctx.snapshot, offers=offers)
        ctx = Round(snapshot, Beliefs(state), self.ctx.now)
        is_active = snapshot.group.state is GroupState.ACTIVE
        orders = place_orders(self.pools, self.shares, ctx) if is_active else Orders()
        return ScalingPlan(
            actions=(*self.actions, *orders.rentals),
            memory=state.to_json(),
            hot_target=self.targets.hot,
            total_target=self.targets.total,
            binding=self.targets.binding,
            figures=_figures(self.demand, self.pools, ctx),
            notes=tuple(orders.notes),
            wants_offers=frozenset(orders.wants_offers),
            wants_bids=frozenset(orders.wants_bids),
            wants_looks=frozenset(orders.wants_looks),
        )


def draft_scaling(snapshot: GroupSnapshot, memory: Mapping[str, object], now: float) -> Draft:
    """Decide all that needs no offers."""
    workers = tuple(sorted(snapshot.workers, key=lambda worker: worker.instance_id))
    snapshot = replace(snapshot, workers=workers)
    state = ScalingMemory.from_json(memory)
    learn(state, snapshot, now)
    demand = measure_demand(snapshot, state, now)
    ctx = Round(snapshot, Beliefs(state), now)
    pools, orphans = sort_into_pools(snapshot, workers, now)
    targets = _targets(ctx, demand)
    repairs = _return_unwanted(pools, orphans, ctx)
    if repairs:
        pools, _ = sort_into_pools(snapshot, _once_done(repairs, workers, now), now)
    trims = [] if snapshot.group.state is GroupState.DELETING else plan_trim(pools, ctx)
    if trims:
        repairs = [*trims, *repairs]  # who goes needs no repair
        pools, _ = sort_into_pools(snapshot, _once_done(repairs, workers, now), now)
    shares = share_out(pools, targets, ctx)
    short = targets.hot - sum(servable(pool, ctx) for pool in pools)
    state.starved = 1.0 if short > rest_load(state) else 0.0
    actions = [*repairs, *_serve(pools, shares, ctx)]
    if snapshot.group.state is GroupState.ACTIVE:
        learn_explored(pools, ctx)
    state.at = max(now, state.at)
    return Draft(
        ctx=ctx,
        demand=demand,
        targets=targets,
        pools=pools,
        shares=shares,
        actions=tuple(_one_per_worker(actions)),
    )


def _targets(ctx: Round, demand: Demand) -> Targets:
    """The law's targets, or zero if the owner's state of the group says so."""
    snapshot, memory = ctx.snapshot, ctx.beliefs.memory
    params = snapshot.group.params
    is_starved = memory.starved > 0 or memory.worker_perf <= 0
    # Where slots are unknown the queue is in demand already.
    known_s = service_s(memory) if demand.knows_slots else 0.0
    share = unbuffered(params.target_queue_time, known_s)
    learn_caution(
        memory,
        snapshot.traffic,
        params.slo_target,
        is_starved=is_starved,
        is_buffered=share <= 0,
    )
    raise_young_caution(memory, params.slo_target, share)
    knob = knob_for(
        memory.caution,
        start_s=ctx.beliefs.start_time().median,
        target_wait_s=params.target_queue_time,
        service_s=known_s if demand.knows_slots else math.inf,
        slo_target=params.slo_target,
        unbuffered_share=share,
    )
    if memory.worker_perf > 0 and memory.usage_s <= 0:  # the first round with a measured worker
        forget_guesses(memory, demand.occupancy)
    targets = set_targets(snapshot, memory, demand, knob, ctx.now)
    if 0 < memory.at < ctx.now:
        note_usage(memory, targets.hot, min(ctx.now - memory.at, MAX_GAP_S))
    if snapshot.group.state is GroupState.ACTIVE:
        return targets
    return zero_targets(snapshot, keeps_cold=snapshot.group.state is not GroupState.DELETING)


def _return_unwanted(pools: Sequence[Pool], orphans: Pool, ctx: Round) -> list[Action]:
    """Drained, stuck, silent and broken workers, and those whose group or autogroup goes."""
    is_deleting = ctx.snapshot.group.state is GroupState.DELETING
    actions = [*finish_drains(orphans, ctx), *dismiss(orphans, ctx, code=ReasonCode.AUTOGROUP_GONE)]
    for pool in pools:
        if pool.is_foreign:
            continue
        actions += finish_drains(pool, ctx)
        if is_deleting or _is_deleting(pool):
            actions += dismiss(
                pool, ctx, code=ReasonCode.GROUP_DELETED if is_deleting else ReasonCode.DELETED
            )
        else:
            actions += end_stuck(pool, ctx)
            actions += repair_broken(pool, ctx)
    return actions


def _serve(pools: Sequence[Pool], shares: Sequence[PoolShare], ctx: Round) -> list[Action]:
    """Starts, recalls and drains towards the hot target; returns beyond the total target."""
    group_state = ctx.snapshot.group.state
    actions: list[Action] = []
    for pool, share in zip(pools, shares, strict=True):
        if pool.is_foreign or _is_deleting(pool) or group_state is GroupState.DELETING:
            continue
        if group_state is not GroupState.ACTIVE:
            actions += park_all(pool, code=ReasonCode.of(f"group_{group_state}"))
        elif not pool.is_active:
            actions += park_all(pool, code=ReasonCode.PAUSED)
        else:
            actions += plan_hot(pool, share.hot, ctx)
            actions += plan_returns(pool, share.total, share.keep_loaded, ctx)
            is_full = ctx.snapshot.caps.free_workers < 1 or _is_at_most(ctx)
            is_short = is_full and held_capacity(pool, ctx, share.total) < share.total
            is_short = is_short or takes_the_cap(pool, share.hot.capacity, ctx)
            actions += plan_bid_returns(pool, ctx, is_room_needed=is_short)
            actions += plan_raises(pool, ctx)
    return actions


def _is_at_most(ctx: Round) -> bool:
    """Whether max_workers is reached, whatever state they are in."""
    snapshot = ctx.snapshot
    n_held = len(snapshot.workers) + len(snapshot.rentals)
    return n_held >= snapshot.group.params.max_workers


def _is_deleting(pool: Pool) -> bool:
    return pool.autogroup is not None and pool.autogroup.state is AutogroupState.DELETING


def _once_done(
    actions: Sequence[Action], workers: Sequence[WorkerFacts], now: float
) -> list[WorkerFacts]:
    """The workers as they will be once the actions are carried out: what follows counts on that."""
    next_state = {
        action.instance_id: _STATE_AFTER[type(action)]
        for action in reversed(actions)
        if not isinstance(action, RentOffer)
    }
    return [
        replace(worker, state=next_state[worker.instance_id], state_since=now)
        if worker.instance_id in next_state
        else worker
        for worker in workers
    ]


_STATE_AFTER: dict[type[Action], WorkerState] = {
    DrainWorker: WorkerState.DRAINING,
    StopWorker: WorkerState.STOPPING,
    RebootWorker: WorkerState.REBOOTING,
    DestroyWorker: WorkerState.DESTROYING,
}


def _one_per_worker(actions: Sequence[Action]) -> list[Action]:
    """The first action of each worker: what comes earlier (a return, a repair) goes before."""
    seen: set[int] = set()
    kept: list[Action] = []
    for action in actions:
        if isinstance(action, RentOffer):
            kept.append(action)
        elif action.instance_id not in seen:
            kept.append(action)
            seen.add(action.instance_id)
    return kept


def _figures(demand: Demand, pools: Sequence[Pool], ctx: Round) -> dict[str, float]:
    """Numbers behind the plan, for logs, series and `explain`."""
    return {
        "held_capacity": sum(held_capacity(pool, ctx) for pool in pools),
        "load_rate": demand.load_rate,
        "occupancy": demand.occupancy,
        "ready_capacity": sum(sum(map(ctx.capacity, pool.ready)) for pool in pools),
        "start_s": ctx.beliefs.start_time().median,
    }
