"""What to do about workers that are drained, stuck, silent, broken or no longer wanted."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.usable import USABLE_GRACE_S
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState
from chalicelib.core.scaling.actions import (
    Action,
    DestroyWorker,
    DrainWorker,
    RebootWorker,
    StopWorker,
)
from chalicelib.core.scaling.learning import LOAD_TIMEOUT_CAP_S
from chalicelib.core.scaling.moves.hot_pool import DRAIN_DEADLINE_S
from chalicelib.core.scaling.moves.pools import Pool, Round
from chalicelib.core.scaling.occupancy import is_idle
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import GroupSnapshot, WorkerFacts

DRAIN_GRACE_S = 4.0  # a ticket given just before the drain may still be on its way
SILENT_LIMIT_S = 600.0  # an unreachable worker is returned after this
REBOOT_MEMORY_S = 3600.0  # a worker in error again within this is returned, not rebooted
MAX_START_FAILURES = 3.0  # scaling.md 6
REBOOT_TIMEOUT_S = 600.0  # as long as the longest start (scaling.md 6)
STOP_TIMEOUT_S = 300.0
"""A stop is repeated each round until it shows. After this (chosen: as long as `will_not_go` waits)
it is taken for one that never happens."""
REBOOT_SHOWS_S = 60.0  # the old process may be heard so long (lifecycle.LAST_REPORTS_S)
REBOOT_IGNORED_S = 180.0  # chosen: two more orders, a minute apart, and a minute for the last
MAX_REBOOT_REFUSALS = 5  # chosen: in a row, one a round; what Vast refuses so often stays refused
NO_ADDRESS = ReasonCode.NO_ADDRESS
WILL_NOT_STOP = ReasonCode.WILL_NOT_STOP
WILL_NOT_REBOOT = ReasonCode.WILL_NOT_REBOOT
REBOOT_REFUSED = ReasonCode.REBOOT_REFUSED
FAILING_AGAIN = ReasonCode.FAILING_AGAIN
BLAMED_CODES = frozenset(
    {
        *(ReasonCode.STUCK_LOADING, ReasonCode.ERROR_AGAIN),
        *(NO_ADDRESS, FAILING_AGAIN, WILL_NOT_STOP, WILL_NOT_REBOOT, REBOOT_REFUSED),
    }
)
"""Why a machine goes that failed: it, or its template, is remembered for it."""
FAILING_DRAIN_S = 120.0  # most of what it still has would fail too
PROGRESS_S = 300.0  # a load whose status text changed so recently is given more time


def finish_drains(pool: Pool, ctx: Round) -> list[Action]:
    """Stop, destroy or reboot the drained workers that are empty or past their deadline."""
    actions: list[Action] = []
    for worker in pool.draining:
        is_over = worker.drain_by is not None and ctx.now >= worker.drain_by
        is_empty = is_idle(worker) and ctx.now - worker.state_since >= DRAIN_GRACE_S
        if not (is_empty or is_over):
            continue
        code = ReasonCode.DRAINED if is_idle(worker) else ReasonCode.DRAIN_DEADLINE
        reason = Reason(code=code, facts={"n_cut": max(worker.n_working, 0)})
        if worker.after_drain == AfterDrain.DESTROY and not ctx.snapshot.inventory_is_known:
            actions.append(StopWorker(instance_id=worker.instance_id, reason=reason))
        elif worker.after_drain == AfterDrain.DESTROY:
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
        elif worker.after_drain == AfterDrain.REBOOT:
            actions.append(_reboot_or_return(worker, ctx, reason))
        else:
            actions.append(StopWorker(instance_id=worker.instance_id, reason=reason))
    return actions


def end_stuck(pool: Pool, ctx: Round) -> list[Action]:
    """Give up starts, stops and first loads that take longer than their limits."""
    actions: list[Action] = []
    for worker in pool.starting if ctx.may_destroy() else ():
        actions += _insist_on_reboot(worker, ctx)
    start_limit = ctx.beliefs.start_timeout()
    # That a start or a load is over is known by reports alone: while none comes, nothing is late.
    is_deaf = ctx.snapshot.reports_are_missing
    for worker in pool.starting if not is_deaf else ():
        waited = ctx.now - worker.state_since
        limit = start_limit if worker.state is WorkerState.STARTING else REBOOT_TIMEOUT_S
        if waited > limit:
            reason = Reason(
                code=ReasonCode.STUCK_STARTING, facts={"waited_s": waited, "limit_s": limit}
            )
            actions.append(StopWorker(instance_id=worker.instance_id, reason=reason))
    # Only a listing can show that a machine runs on, or has no address: while there is none, what
    # was not seen is no proof that it did not happen.
    seen_until = last_seen_at(ctx.snapshot, ctx.now)
    for worker in pool.stopping if ctx.may_destroy() else ():
        if is_late_stop(worker, seen_until):  # it bills its GPU, and cannot be started again
            waited = seen_until - worker.state_since
            reason = Reason(code=WILL_NOT_STOP, facts={"waited_s": waited})
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
    for worker in pool.booting if ctx.may_destroy() and not is_deaf else ():
        waited = ctx.now - ctx.beliefs.load_began_at(worker)
        limit = ctx.beliefs.load_timeout(worker.autogroup_id, worker.load_s)
        has_patience = is_moving(worker, ctx.now) and waited < LOAD_TIMEOUT_CAP_S
        if waited > limit and not has_patience:
            reason = Reason(
                code=ReasonCode.STUCK_LOADING, facts={"waited_s": waited, "limit_s": limit}
            )
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
    for worker in pool.unreachable if ctx.may_destroy() else ():
        waited = seen_until - worker.state_since
        if waited > USABLE_GRACE_S:
            reason = Reason(code=NO_ADDRESS, facts={"waited_s": waited})
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
    return actions


def _insist_on_reboot(worker: WorkerFacts, ctx: Round) -> list[Action]:
    """Whose old process reports on after a reboot is told again, and then replaced."""
    facts: dict[str, float | int | str] = {"ran_on_s": worker.ran_on_s}
    if worker.ran_on_s > REBOOT_IGNORED_S:
        reason = Reason(code=WILL_NOT_REBOOT, facts=facts)
        return [DestroyWorker(instance_id=worker.instance_id, reason=reason)]
    told_at = ctx.beliefs.memory.rebooted.get(str(worker.instance_id), worker.state_since)
    if worker.ran_on_s <= REBOOT_SHOWS_S or ctx.now - told_at <= REBOOT_SHOWS_S:
        return []
    reason = Reason(code=ReasonCode.REBOOT_AGAIN, facts=facts)
    return [RebootWorker(instance_id=worker.instance_id, reason=reason)]


def last_seen_at(snapshot: GroupSnapshot, now: float) -> float:
    """Until when a listing showed what became of orders: later silence is no proof of anything."""
    return min(now, snapshot.listed_at)


def is_late_stop(worker: WorkerFacts | Worker, seen_until: float) -> bool:
    """Whether listings showed a worker running on for too long after it was told to stop."""
    waited_s = seen_until - worker.state_since
    return worker.state is WorkerState.STOPPING and waited_s > STOP_TIMEOUT_S


def is_moving(worker: WorkerFacts, now: float) -> bool:
    """Whether the host lately told of progress of a first load."""
    return now - worker.progress_at < PROGRESS_S


def repair_broken(pool: Pool, ctx: Round) -> list[Action]:
    """Reboot a worker in error once, then return it; return the lost and the unstartable."""
    actions: list[Action] = []
    memory = ctx.beliefs.memory
    is_parked = ctx.snapshot.group.state is not GroupState.ACTIVE or not pool.is_active
    for worker in pool.broken if not is_parked else ():
        actions += _repair_error(worker, ctx)
    for worker in pool.ready + pool.silent + pool.draining if not is_parked else ():
        actions += _repair_failing(worker, ctx)
    for worker in pool.lost if ctx.may_destroy() else ():
        waited = ctx.now - worker.state_since
        if waited > SILENT_LIMIT_S:
            reason = Reason(code=ReasonCode.UNREACHABLE, facts={"silent_s": waited})
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
    for worker in pool.stopped + pool.refused if ctx.may_destroy() else ():
        failures = memory.failed_starts.get(str(worker.instance_id), 0.0) + worker.n_start_refusals
        if failures >= MAX_START_FAILURES:
            reason = Reason(code=ReasonCode.WILL_NOT_START, facts={"failures": failures})
            actions.append(DestroyWorker(instance_id=worker.instance_id, reason=reason))
    return actions


def _repair_error(worker: WorkerFacts, ctx: Round) -> list[Action]:
    memory, key = ctx.beliefs.memory, str(worker.instance_id)
    facts: dict[str, float | int | str] = {"error": worker.error[:200]}
    rebooted_at = memory.rebooted.get(key)
    if rebooted_at is None or ctx.now - rebooted_at > REBOOT_MEMORY_S:
        reason = Reason(code=ReasonCode.ERROR_REBOOT, facts=facts)
        return [_reboot_or_return(worker, ctx, reason)]
    if not ctx.may_destroy():
        return []
    reason = Reason(code=ReasonCode.ERROR_AGAIN, facts=facts)
    return [DestroyWorker(instance_id=worker.instance_id, reason=reason)]


def _reboot_or_return(worker: WorkerFacts, ctx: Round, reason: Reason) -> Action:
    """A reboot; a return of whom Vast will not reboot, since it would be billed for nothing."""
    refusals = worker.n_reboot_refusals
    if refusals < MAX_REBOOT_REFUSALS or not ctx.may_destroy():
        return RebootWorker(instance_id=worker.instance_id, reason=reason)
    refused = Reason(code=REBOOT_REFUSED, facts={**reason.facts, "refusals": refusals})
    return DestroyWorker(instance_id=worker.instance_id, reason=refused)


def _repair_failing(worker: WorkerFacts, ctx: Round) -> list[Action]:
    """Drain and reboot who fails its requests; if it fails again within the hour, return it."""
    if not worker.failing or not ctx.may_destroy():
        return []
    if worker.after_drain in (AfterDrain.DESTROY, AfterDrain.REBOOT):
        return []  # on its way already
    facts: dict[str, float | int | str] = {"failing": worker.failing}
    rebooted_at = ctx.beliefs.memory.rebooted.get(str(worker.instance_id))
    is_first = rebooted_at is None or ctx.now - rebooted_at > REBOOT_MEMORY_S
    if not is_first and not ctx.snapshot.may_return_failing:
        return []
    return [
        DrainWorker(
            instance_id=worker.instance_id,
            then=AfterDrain.REBOOT if is_first else AfterDrain.DESTROY,
            deadline_s=FAILING_DRAIN_S,
            reason=Reason(
                code=ReasonCode.FAILING_REBOOT if is_first else FAILING_AGAIN, facts=facts
            ),
        )
    ]


def dismiss(pool: Pool, ctx: Round, *, code: ReasonCode) -> list[Action]:
    """Return every worker of a pool: empty ones at once, serving ones after a drain."""
    if not ctx.snapshot.inventory_is_known:  # a freeze does not hold what the owner deletes
        return []
    reason = Reason(code=code)
    silent = pool.silent + pool.lost
    at_once = (
        pool.starting
        + pool.booting
        + pool.unreachable
        + pool.stopping
        + pool.stopped
        + pool.paused
        + pool.refused
        + pool.broken
        + silent
    )
    return [
        *_drains(pool.ready, AfterDrain.DESTROY, reason),
        *_drains(
            (w for w in pool.draining if w.after_drain != AfterDrain.DESTROY),
            AfterDrain.DESTROY,
            reason,
        ),
        *(DestroyWorker(instance_id=worker.instance_id, reason=reason) for worker in at_once),
    ]


def park_all(pool: Pool, *, code: ReasonCode) -> list[Action]:
    """Drain and stop whatever serves, is coming up or is broken; the model stays on disk."""
    reason = Reason(code=code)
    others = pool.starting + pool.broken + pool.unreachable + pool.paused
    stops = [StopWorker(instance_id=worker.instance_id, reason=reason) for worker in others]
    return [*_drains(pool.ready, AfterDrain.STOP, reason), *stops]


def _drains(workers: Iterable[WorkerFacts], then: AfterDrain, reason: Reason) -> list[DrainWorker]:
    return [
        DrainWorker(
            instance_id=worker.instance_id,
            then=then,
            deadline_s=DRAIN_DEADLINE_S,
            reason=reason,
        )
        for worker in workers
    ]
