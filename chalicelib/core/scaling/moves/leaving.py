"""Workers that must leave: outdated ones in a rolling update, ending contracts, lost hosts.

The decision is shown such a worker as one that is gone already, so it provides a substitute, while
the worker goes on serving. Only when the others cover the wanted capacity, or time is up, is it
really drained: an update or a contract's end costs no capacity and cuts no stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chalicelib.core.fleet.set_aside import Failures, add_failure, host_key, machine_key
from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState
from chalicelib.core.money.budget import MICRO
from chalicelib.core.scaling.actions import (
    Action,
    ChangeBid,
    DestroyWorker,
    DrainWorker,
    RecallWorker,
    RentOffer,
    StartWorker,
    StopWorker,
)
from chalicelib.core.scaling.moves.offers import MIN_CONTRACT_S
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import GroupSnapshot, ScalingPlan, WorkerFacts

CONTRACT_LEAD_S = 3600.0  # a substitute is looked for so long before a contract ends
SHORTEST_LEAD_S = 1200.0  # a first load (16 minutes at most), and a drain
CONTRACT_DRAIN_S = 900.0  # and the worker is drained at the latest this long before,
LAST_CALL_S = 120.0  # or this long, if nobody else is ready
DRAIN_SHARE = 0.75  # of a lead, as of the shortest
LEAST_LIFE_S = 600.0  # chosen: less than this is about what a load and a drain take
# Chosen: streams of ten minutes are finished; longer ones are counted as cut.
LEAVING_DEADLINE_S = 600.0
UNAVAILABLE_LIMIT_S = 600.0  # a lost host, or a GPU let to others, is not waited for any longer


def choose_leaving(
    snapshot: GroupSnapshot, rollout_by: Mapping[int, float], now: float
) -> dict[int, Reason]:
    """Who should leave now, and why: all whose contract ends, and one outdated worker at a time.

    `rollout_by`: of the rolling updates in progress, by autogroup id.
    """
    leaving = _overbilling(snapshot)
    is_updating = any(_is_in_between(worker) for worker in snapshot.workers) or snapshot.rentals
    for worker in sorted(snapshot.workers, key=_update_order):
        if not worker.state.is_in_service and worker.state.is_gpu_billed:
            continue
        if worker.instance_id in leaving:
            continue
        ends_at = worker.contract_ends_at
        if ends_at is not None and ends_at - now < _lead_s(worker, ends_at):
            facts = {"ends_in_s": round(ends_at - now)}
            leaving[worker.instance_id] = Reason(code=ReasonCode.CONTRACT_ENDS, facts=facts)
        elif _is_lost(worker, now):
            facts = {"unavailable_s": round(now - worker.state_since)}
            leaving[worker.instance_id] = Reason(code=ReasonCode.UNAVAILABLE, facts=facts)
        elif worker.is_bid and not _takes_bids(snapshot, worker):
            leaving[worker.instance_id] = Reason(code=ReasonCode.INTERRUPTIBLE_OFF)
        elif worker.is_outdated and worker.autogroup_id in rollout_by and not is_updating:
            is_updating = True
            leaving[worker.instance_id] = Reason(code=ReasonCode.OUTDATED)
    return leaving


def _overbilling(snapshot: GroupSnapshot) -> dict[int, Reason]:
    """The dearest of those that bill far above their offers: one a round, as rows may be false."""
    found = [
        worker
        for worker in snapshot.workers
        if worker.is_overbilling
        and (
            worker.state.is_in_service
            or worker.state.is_first_load
            or not worker.state.is_gpu_billed
        )
    ]
    if not found:
        return {}
    worker = max(found, key=lambda w: (w.usd_per_hour, w.instance_id))
    facts = {
        "usd_per_hour": worker.usd_per_hour,
        "agreed_usd_per_hour": worker.agreed_usd_per_hour,
    }
    return {worker.instance_id: Reason(code=ReasonCode.OVERBILLS, facts=facts)}


def _takes_bids(snapshot: GroupSnapshot, worker: WorkerFacts) -> bool:
    """Whether the owner still wants interruptible machines where this one serves."""
    own = {a.autogroup_id: a.interruptible for a in snapshot.autogroups}.get(worker.autogroup_id)
    return (own or snapshot.group.params.interruptible) is not Interruptible.NEVER


def present(snapshot: GroupSnapshot, leaving: Iterable[int]) -> GroupSnapshot:
    """The snapshot as the decision should see it: who leaves serves no longer."""
    ids = frozenset(leaving)
    workers = tuple(
        replace(w, state=WorkerState.DESTROYING) if w.instance_id in ids else w
        for w in snapshot.workers
    )
    return replace(snapshot, workers=workers)


def send_off(
    snapshot: GroupSnapshot,
    decision: ScalingPlan,
    leaving: Mapping[int, Reason],
    now: float,
) -> list[Action]:
    """Drain or destroy those that are covered for, or whose contract is up.

    An update has no such end: where no substitute can be had (no offer, a cap, an image that does
    not start), the old template serves on.
    """
    actions: list[Action] = []
    ready = {w.instance_id: w.perf for w in snapshot.workers if w.state is WorkerState.READY}
    by_id = {worker.instance_id: worker for worker in snapshot.workers}
    for instance_id, reason in leaving.items():
        worker = by_id[instance_id]
        if not worker.state.is_gpu_billed or worker.state.is_first_load:
            actions.append(DestroyWorker(instance_id=instance_id, reason=reason))
            continue
        others = sum(perf for id_, perf in ready.items() if id_ != instance_id)
        is_covered = others >= decision.hot_target
        # What it bills may leave no room under the caps for its substitute: it is not waited for.
        is_covered = is_covered or reason.code == ReasonCode.OVERBILLS
        if is_covered or _is_due(worker, others, now) or _has_no_room(snapshot, reason):
            ready.pop(instance_id, None)
            actions.append(
                DrainWorker(
                    instance_id=instance_id,
                    then=AfterDrain.DESTROY,
                    deadline_s=LEAVING_DEADLINE_S,
                    reason=reason,
                )
            )
    return actions


def _lead_s(worker: WorkerFacts, ends_at: float) -> float:
    """How long before its contract's end a worker is substituted.

    Of a short contract a quarter: else a machine whose contract is hardly longer than the lead
    would be sent off as soon as it has loaded, and rented again, without end. Of one that is
    shorter than two such leads as much as its own load took twice, and half of it at most. What
    cannot earn its start is followed by another only when it is gone, and a contract that ended
    before it began is no fact.
    """
    life_s = ends_at - worker.created_at
    if life_s < LEAST_LIFE_S:
        return -math.inf
    if life_s < 2 * SHORTEST_LEAD_S:
        load_s = max(worker.loaded_at - worker.created_at, 0.0)
        return min(life_s / 2, max(life_s / 4, 2 * load_s + LAST_CALL_S))
    return min(CONTRACT_LEAD_S, max(SHORTEST_LEAD_S, life_s / 4))


def _is_in_between(worker: WorkerFacts) -> bool:
    """Whether an update's previous step is not over: one on its way out, or its substitute in."""
    if worker.is_outdated:
        return worker.state in (WorkerState.DRAINING, WorkerState.DESTROYING)
    return worker.state.is_first_load


def _is_lost(worker: WorkerFacts, now: float) -> bool:
    is_unavailable = worker.state is WorkerState.UNAVAILABLE
    return is_unavailable and now - worker.state_since > UNAVAILABLE_LIMIT_S


def _is_due(worker: WorkerFacts, others: float, now: float) -> bool:
    ends_at = worker.contract_ends_at
    if ends_at is None:
        return False
    drain_s = min(CONTRACT_DRAIN_S, DRAIN_SHARE * _lead_s(worker, ends_at))
    return ends_at - now < (drain_s if others > 0 else LAST_CALL_S)


def short_contracts(failures: Failures, workers: Iterable[Worker], now: float) -> Failures:
    """What failed, with the machines and hosts whose contracts end sooner than offers must say.

    Once a rental, from the first listing that shows it: the next one goes elsewhere.
    """
    for worker in workers:
        ends_at = worker.contract_ends_at
        life_s = math.inf if ends_at is None else ends_at - worker.created_at
        if life_s > MIN_CONTRACT_S or worker.state is WorkerState.FOREIGN:
            continue
        keys = [machine_key(worker.machine_id)] if worker.machine_id else []
        keys += [host_key(worker.host_id)] if worker.host_id else []
        known = {key: failures[key].at for key in keys if key in failures}
        news = [key for key in keys if known.get(key, -math.inf) < worker.created_at]
        if news:
            problem = f"its contract ends {life_s / 60:.0f} minutes after it began"
            failures = add_failure(failures, news, problem, now)
    return failures


def _has_no_room(snapshot: GroupSnapshot, reason: Reason) -> bool:
    """An update at max_workers cannot surge: one worker at a time goes first."""
    return reason.code == "outdated" and snapshot.caps.free_workers <= 0


def _update_order(worker: WorkerFacts) -> tuple[bool, int]:
    """Those at rest first: replacing them disturbs nobody."""
    return worker.state.is_gpu_billed, worker.instance_id


# Winding down at a cap: what must stop so that the cap is kept, dearest first. Pure.

WIND_DOWN_DEADLINE_S = 300.0  # well within budget.RUNWAY_S


def wind_down(
    workers: Iterable[Worker], cap: str, over_microusd_per_hour: int | None
) -> list[Action]:
    """Actions that bring a group below a cap.

    `over_microusd_per_hour`: how much too much is committed (hourly caps); None: everything that
    bills a GPU must stop (the day's or month's money is spent).
    """
    actions: list[Action] = []
    saved = 0.0
    running = [worker for worker in workers if not worker.state.is_wound_down]
    for worker in sorted(running, key=lambda w: (-w.usd_per_hour, w.instance_id)):
        if over_microusd_per_hour is not None and saved * MICRO >= over_microusd_per_hour:
            break
        saved += worker.usd_per_hour - worker.storage_usd_per_hour
        action = _end(worker, Reason(code=ReasonCode.CAP_REACHED, facts={"cap": cap}))
        if action is not None:
            actions.append(action)
    return actions


_SPENDING = RentOffer | StartWorker | RecallWorker | ChangeBid


def without_spending(actions: Sequence[Action]) -> list[Action]:
    """The actions that add no cost."""
    return [a for a in actions if not isinstance(a, _SPENDING)]


def _end(worker: Worker, reason: Reason) -> Action | None:
    if worker.state.is_first_load or worker.state in (
        WorkerState.UNAVAILABLE,
        WorkerState.PAUSED,
    ):
        # What was refused may come up by itself at any time, and then bills.
        return DestroyWorker(instance_id=worker.instance_id, reason=reason)
    if not worker.state.may_hold_requests:
        return StopWorker(instance_id=worker.instance_id, reason=reason)
    if worker.state is WorkerState.DRAINING and worker.drain_by is not None:
        return None  # ends by itself, within its deadline
    return DrainWorker(
        instance_id=worker.instance_id,
        then=AfterDrain.STOP,
        deadline_s=WIND_DOWN_DEADLINE_S,
        reason=reason,
    )
