"""Which workers serve: recalls, starts and drains that bring ready capacity to its target."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest

from chalicelib.core.model.worker import AfterDrain, WorkerState
from chalicelib.core.scaling.actions import Action, DrainWorker, RecallWorker, StartWorker
from chalicelib.core.scaling.moves.interruptible import room_for_bids, within_room
from chalicelib.core.scaling.moves.leaving import CONTRACT_LEAD_S
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.moves.standby import places_away
from chalicelib.core.scaling.occupancy import is_idle
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import WorkerFacts

DRAIN_DEADLINE_S = 900.0  # a request that runs longer than this is cut, and counted
SWAP_BELOW = 0.5  # of what the ready workers cost: a start is billed, too, so less is not worth it
BUSY_MARGIN = 1.25  # times the goal must be there without a busy worker before it is drained
AWAY_START_ODDS = 0.05  # chosen: such a start is tried only where nothing else is left
HEDGE_Z = 1.3  # a start later than its 90th percentile no longer counts as capacity


@dataclass(frozen=True, kw_only=True, slots=True)
class CapacityGoal:
    """Ready capacity wanted of one autogroup: load per second, and workers at least."""

    capacity: float
    n_workers: int = 0
    binding: str = ""

    def met_by(self, capacity: float, n_workers: int) -> bool:
        """Whether this capacity meets the goal, up to rounding (one part in a billion)."""
        return n_workers >= self.n_workers and capacity >= self.capacity * (1 - 1e-9)


def plan_hot(pool: Pool, goal: CapacityGoal, ctx: Round) -> list[Action]:
    """Recall and start while short; drain while one less is still enough."""
    up = pool.serving + punctual_starts(pool, ctx)
    room = room_for_bids(pool, goal.capacity, ctx)
    counted = within_room(up, room, ctx)
    room -= sum(ctx.capacity(worker) for worker in counted if worker.is_bid)
    capacity = sum(map(ctx.capacity, counted))
    if goal.met_by(capacity, len(counted)):
        excess = _plan_excess(pool, counted, ctx) or _start_insisted(pool, up, ctx)
        return excess or _plan_drains(pool, goal, ctx) or _plan_swap(pool, goal, ctx)
    facts = {"wanted": goal.capacity, "had": capacity, "term": goal.binding}
    recalled = _recallable(pool, ctx, goal, capacity, len(counted))
    capacity += sum(map(ctx.capacity, recalled))
    n_workers = len(counted) + len(recalled)
    away = places_away(pool) | {w.place for w in pool.ready if w.instance_id in pool.unheard}
    chosen = choose_cover(
        within_room(startable(pool), room, ctx),
        CapacityGoal(capacity=goal.capacity - capacity, n_workers=goal.n_workers - n_workers),
        ctx.capacity,
        lambda worker: ctx.usd_per_hour(worker) / max(_start_odds(worker, away, ctx), 1e-3),
    )
    beaten = _beaten_starts(startable(pool), chosen, ctx)
    reason = Reason(code=ReasonCode.HOT_SHORT, facts=facts, beaten=beaten)
    insisted = _start_insisted(pool, [*up, *recalled, *chosen], ctx)
    return [
        *(RecallWorker(instance_id=worker.instance_id, reason=reason) for worker in recalled),
        *(StartWorker(instance_id=worker.instance_id, reason=reason) for worker in chosen),
        *insisted,
    ]


def _start_odds(worker: WorkerFacts, away: Collection[str], ctx: Round) -> float:
    """Odds that a start succeeds; slight where all at a bid was just taken, or is silent."""
    odds = ctx.beliefs.start_odds(worker)
    return odds * AWAY_START_ODDS if worker.is_bid and worker.place in away else odds


def _start_insisted(pool: Pool, up: Sequence[WorkerFacts], ctx: Round) -> list[Action]:
    """A worker on demand for those who wait for one, where only interruptible ones serve."""
    if ctx.snapshot.waiting.on_demand_load <= 0 or any(not worker.is_bid for worker in up):
        return []
    cold = [worker for worker in startable(pool) if not worker.is_bid]
    cheapest = sorted(cold, key=lambda w: (ctx.usd_per_load(w), w.instance_id))[:1]
    return [
        StartWorker(instance_id=worker.instance_id, reason=Reason(code=ReasonCode.INSISTED))
        for worker in cheapest
    ]


def _plan_excess(pool: Pool, counted: Sequence[WorkerFacts], ctx: Round) -> list[Action]:
    """Drain the interruptible workers beyond the share that may vanish at once."""
    kept = {worker.instance_id for worker in counted}
    return [
        DrainWorker(
            instance_id=worker.instance_id,
            then=AfterDrain.STOP,
            deadline_s=DRAIN_DEADLINE_S,
            reason=Reason(code=ReasonCode.INTERRUPTIBLE_SHARE),
        )
        for worker in pool.ready
        if worker.is_bid and worker.instance_id not in kept
    ]


def punctual_starts(pool: Pool, ctx: Round) -> list[WorkerFacts]:
    """Starting workers that may still come up in time; later ones are hedged by another start."""
    late_s = ctx.beliefs.start_time().quantile(HEDGE_Z)
    return [worker for worker in pool.starting if ctx.now - worker.state_since <= late_s]


def startable(pool: Pool) -> list[WorkerFacts]:
    """Cold workers that may be started."""
    return [worker for worker in pool.stopped if not worker.is_outdated]


def choose_cover(
    candidates: Sequence[WorkerFacts],
    goal: CapacityGoal,
    capacity_of: Callable[[WorkerFacts], float],
    cost_of: Callable[[WorkerFacts], float],
) -> list[WorkerFacts]:
    """Workers that cover the goal cheaply: greedy by cost per capacity, with the last pick fixed.

    The greedy choice may end on a large worker for a small remainder; so once a single worker could
    cover all that is left, the cheapest such one is taken if it costs no more than going on would.
    At the end any pick that turned out superfluous is dropped, dearest first.
    """
    order = sorted(candidates, key=lambda w: (_ratio(cost_of(w), capacity_of(w)), w.instance_id))
    largest = max(map(capacity_of, order), default=0.0)
    need, count, taken = goal.capacity, goal.n_workers, 0
    while taken < len(order) and not _is_met(need, count) and (need > largest or count > 1):
        need, count = need - capacity_of(order[taken]), count - 1
        taken += 1
    chosen = order[:taken]
    if not _is_met(need, count):
        chosen += _finish(order[taken:], need, capacity_of, cost_of)
    return _without_superfluous(chosen, goal, capacity_of, cost_of)


def _is_met(need: float, count: int) -> bool:
    return need <= 0 and count <= 0


def _ratio(cost: float, capacity: float) -> float:
    return cost / capacity if capacity > 0 else math.inf


def _finish(
    order: Sequence[WorkerFacts],
    need: float,
    capacity_of: Callable[[WorkerFacts], float],
    cost_of: Callable[[WorkerFacts], float],
) -> list[WorkerFacts]:
    """The cheaper of: the next workers in order until the need is met, and one that meets it."""
    prefix: list[WorkerFacts] = []
    covered = 0.0
    for worker in order:
        if prefix and covered >= need:
            break
        prefix.append(worker)
        covered += capacity_of(worker)
    single = min(
        (worker for worker in order if capacity_of(worker) >= need),
        key=lambda w: (cost_of(w), w.instance_id),
        default=None,
    )
    if single is not None and (covered < need or cost_of(single) <= sum(map(cost_of, prefix))):
        return [single]
    return prefix


def _without_superfluous(
    chosen: Sequence[WorkerFacts],
    goal: CapacityGoal,
    capacity_of: Callable[[WorkerFacts], float],
    cost_of: Callable[[WorkerFacts], float],
) -> list[WorkerFacts]:
    total, count = sum(map(capacity_of, chosen)), len(chosen)
    dropped: set[int] = set()
    for worker in sorted(chosen, key=lambda w: (-cost_of(w), w.instance_id)):
        if goal.met_by(total - capacity_of(worker), count - 1):
            dropped.add(worker.instance_id)
            total, count = total - capacity_of(worker), count - 1
    return [worker for worker in chosen if worker.instance_id not in dropped]


def _recallable(
    pool: Pool, ctx: Round, goal: CapacityGoal, capacity: float, n_workers: int
) -> list[WorkerFacts]:
    """Draining workers worth keeping after all, cheapest first, until the goal is met."""
    recalled: list[WorkerFacts] = []
    kept = [w for w in ctx.snapshot.workers if not _goes(w)]
    room = ctx.snapshot.group.params.max_workers - len(kept) - len(ctx.snapshot.rentals)
    for worker in sorted(
        pool.heard(pool.draining), key=lambda w: (ctx.usd_per_load_kept(w), w.instance_id)
    ):
        if goal.met_by(capacity, n_workers):
            break
        is_kept = worker.after_drain == AfterDrain.STOP and not worker.is_outdated
        if is_kept or (room > 0 and _was_over_max_workers(worker, pool, ctx)):
            room -= not is_kept
            recalled.append(worker)
            capacity += ctx.capacity(worker)
            n_workers += 1
    return recalled


def _goes(worker: WorkerFacts) -> bool:
    return worker.state is WorkerState.DESTROYING or worker.after_drain == AfterDrain.DESTROY


def _was_over_max_workers(worker: WorkerFacts, pool: Pool, ctx: Round) -> bool:
    """Whether a worker that is to be returned goes for nothing but a `max_workers` of before.

    All that else returns a serving worker is a fact that still shows.
    """
    ends_at = worker.contract_ends_at
    is_good = not (worker.is_outdated or worker.is_overbilling or worker.is_bid or worker.failing)
    return (
        worker.after_drain == AfterDrain.DESTROY
        and pool.is_active
        and is_good
        and str(worker.instance_id) not in ctx.beliefs.memory.rebooted
        and (ends_at is None or ends_at - ctx.now > CONTRACT_LEAD_S)
    )


def _plan_drains(pool: Pool, goal: CapacityGoal, ctx: Round) -> list[Action]:
    """Drain what is not needed: idle workers first, so that the rest is the cheapest cover.

    None on demand, while requests wait that take no other.
    """
    left = sum(map(ctx.capacity, pool.ready))
    actions: list[Action] = []
    insists = ctx.snapshot.waiting.on_demand_load > 0
    for worker in _surplus(pool, goal, ctx):
        if insists and not worker.is_bid:
            continue
        left -= ctx.capacity(worker)
        facts = {"wanted": goal.capacity, "left": left, "usd_per_load": ctx.usd_per_load(worker)}
        actions.append(
            DrainWorker(
                instance_id=worker.instance_id,
                then=AfterDrain.STOP,
                deadline_s=DRAIN_DEADLINE_S,
                reason=Reason(code=ReasonCode.IDLE_SURPLUS, facts=facts),
            )
        )
    return actions


def _plan_swap(pool: Pool, goal: CapacityGoal, ctx: Round) -> list[Action]:
    """Start cold workers that would do what the ready ones do for much less money.

    After a burst the ones that are left may be far too large for a small need; once the cheaper
    ones are up, the dear ones are surplus.
    """
    if pool.starting or pool.draining or not pool.ready:
        return []
    room = room_for_bids(pool, goal.capacity, ctx)
    candidates = within_room(pool.ready + startable(pool), room, ctx)
    cover = choose_cover(candidates, goal, ctx.capacity, ctx.usd_per_hour)
    ready_ids = {worker.instance_id for worker in pool.ready}
    usd, usd_now = _usd_per_hour(cover, ctx), _usd_per_hour(pool.ready, ctx)
    if usd > SWAP_BELOW * usd_now:
        return []
    reason = Reason(
        code=ReasonCode.CHEAPER_COVER, facts={"usd_per_hour": usd, "now_usd_per_hour": usd_now}
    )
    return [
        StartWorker(instance_id=worker.instance_id, reason=reason)
        for worker in cover
        if worker.instance_id not in ready_ids
    ]


def _usd_per_hour(workers: Sequence[WorkerFacts], ctx: Round) -> float:
    return sum(map(ctx.usd_per_hour, workers))


def _surplus(pool: Pool, goal: CapacityGoal, ctx: Round) -> list[WorkerFacts]:
    """Ready workers that may go, in order.

    Beside the busy ones the idle ones that cover the goal for the fewest dollars an hour stay: for
    a small need a small worker, though a large one may be cheaper per load; of equals, those whose
    caches hold most. Busy ones go only if there is ample capacity without them: while one drains,
    its free slots are paid and not used, and requests go to cheap workers first, so that dear ones
    come to be idle by themselves.
    """
    busy = [worker for worker in pool.ready if not is_idle(worker)]
    idle = [worker for worker in pool.ready if is_idle(worker)]
    need = CapacityGoal(
        capacity=goal.capacity - sum(map(ctx.capacity, busy)), n_workers=goal.n_workers - len(busy)
    )
    kept = choose_cover(idle, need, ctx.capacity, ctx.usd_per_hour_kept)
    cover = choose_cover(pool.ready, goal, ctx.capacity, ctx.usd_per_hour)
    usd_staying = _usd_per_hour(busy + kept, ctx)
    if _usd_per_hour(cover, ctx) <= SWAP_BELOW * usd_staying:  # a swap's second half
        cover_ids = {worker.instance_id for worker in cover}
        return [worker for worker in pool.ready if worker.instance_id not in cover_ids]
    kept_ids = {worker.instance_id for worker in kept}
    surplus = [worker for worker in idle if worker.instance_id not in kept_ids]
    surplus.sort(key=lambda w: (-ctx.usd_per_load_kept(w), w.instance_id))
    capacity, n_workers = sum(map(ctx.capacity, busy + kept)), len(busy) + len(kept)
    with_margin = replace(goal, capacity=BUSY_MARGIN * goal.capacity)
    for worker in sorted(busy, key=lambda w: (-ctx.usd_per_load_kept(w), w.instance_id)):
        if with_margin.met_by(capacity - ctx.capacity(worker), n_workers - 1):
            surplus.append(worker)
            capacity, n_workers = capacity - ctx.capacity(worker), n_workers - 1
    return surplus


def _beaten_starts(
    candidates: Sequence[WorkerFacts], chosen: Sequence[WorkerFacts], ctx: Round
) -> tuple[str, ...]:
    taken = {worker.instance_id for worker in chosen}
    others = (worker for worker in candidates if worker.instance_id not in taken)
    rejected = nsmallest(3, others, key=lambda w: (ctx.usd_per_load(w), w.instance_id))
    return tuple(
        f"{worker.instance_id}: ${ctx.usd_per_load(worker):.3g} an hour per unit of load"
        for worker in rejected
    )
