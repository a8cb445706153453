"""What a round leaves behind for people: decisions, troubles, the minute's series, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

from chalicelib.core.model.scopes import autogroup_scope, endpoint_scope
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.money.account import Account
from chalicelib.core.money.budget import MICRO
from chalicelib.core.money.spend import spent_today_usd
from chalicelib.core.scaling.actions import Action, RentOffer
from chalicelib.core.scaling.moves.orders import newly_explored
from chalicelib.core.scaling.reasons import DOING, Reason, explain_reason
from chalicelib.ports.event_log import Event
from chalicelib.services.rounds.acting import ACTOR
from chalicelib.services.rounds.foresight import refused_by_caps
from chalicelib.services.rounds.journal.troubles import is_capped
from chalicelib.services.rounds.values import GroupPlan, RoundPlan

_VERBS = {
    "RentOffer": "rent",
    "StartWorker": "start",
    "DrainWorker": "drain",
    "RecallWorker": "recall",
    "StopWorker": "stop",
    "RebootWorker": "reboot",
    "DestroyWorker": "destroy",
    "ChangeBid": "bid",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundOutcome:
    """What a round came to. `is_busy`: the next one should come soon."""

    is_busy: bool
    figures: Mapping[str, float] = field(default_factory=dict)


def action_name(action: Action) -> str:
    """An action's verb: rent, start, drain, recall, stop, reboot, destroy, bid."""
    return _VERBS[type(action).__name__]


def reason_facts(reason: Reason) -> dict[str, object]:
    """A reason as plain JSON."""
    return {"code": reason.code, "facts": dict(reason.facts), "beaten": list(reason.beaten)}


def events_of(
    plan: RoundPlan, now: float, done: Mapping[int, Action], problems: Mapping[int, str]
) -> list[Event]:
    """What a round did or could not do, and which autogroups are explored now.

    `done`, `problems`: by the identity of the plan's actions.
    """
    return _decisions(plan, now, done, problems) + _explored(
        plan.view.memory.groups, plan.groups, now
    )


def _decisions(
    plan: RoundPlan, now: float, done: Mapping[int, Action], problems: Mapping[int, str]
) -> list[Event]:
    """One event per action, under its endpoint; rentals also under their autogroup.

    In shadow mode only what would have been possible: nothing that a cap refuses.
    """
    events = []
    refused = refused_by_caps(plan)
    for group in plan.groups:
        endpoint_id = group.snapshot.group.endpoint_id
        is_shadow = group.snapshot.group.shadow
        for action in group.would:
            if is_shadow and id(action) in refused:
                continue
            facts = _decision_facts(group, action, now, is_shadow=is_shadow)
            doing = DOING[action_name(action)]
            doing = f"Would be {doing.lower()}" if is_shadow else doing
            message = f"{doing} {facts['subject']}: {explain_reason(action.reason)}"
            if not is_shadow and id(action) not in done:
                problem = problems.get(id(action), "no time was left; the next round decides anew")
                facts["not_done"] = problem
                message = f"Not done ({problem}): {message}"
            scopes = [endpoint_scope(endpoint_id)]
            if isinstance(action, RentOffer):
                scopes.append(autogroup_scope(action.autogroup_id))
            events += [_event(now, scope, "decision", message, facts) for scope in scopes]
    return events


def _explored(
    before: Mapping[str, Mapping[str, object]], groups: Iterable[GroupPlan], now: float
) -> list[Event]:
    """Under the endpoint and the autogroup; `before` is the memory by group."""
    events = []
    for group in groups:
        endpoint_id = group.snapshot.group.endpoint_id
        known = before.get(str(endpoint_id), {})
        for autogroup_id in newly_explored(known, group.decision.memory):
            own = [w for w in group.snapshot.workers if w.autogroup_id == autogroup_id]
            loaded = {worker.gpu_type for worker in own if worker.loaded_at}
            text = f"Autogroup {autogroup_id} is explored; loaded on {', '.join(sorted(loaded))}"
            scopes = (endpoint_scope(endpoint_id), autogroup_scope(autogroup_id))
            events += [_event(now, scope, "explored", text, {}) for scope in scopes]
    return events


def sum_up(plan: RoundPlan, account: Account, n_failed_creates: int) -> dict[str, float]:
    """Sums over all groups, for metrics and alarms."""
    traffic = [group.snapshot.traffic for group in plan.groups]
    n_started = sum(item.n_started for item in traffic)
    n_late = sum(item.n_late for item in traffic)
    view, told = plan.view, plan.memory.troubles
    ready = [worker for worker in view.workers if worker.state is WorkerState.READY]
    return {
        "UsdPerHour": account.committed_microusd_per_hour / MICRO,
        "SpentTodayUsd": sum(spent_today_usd(one, view.now) for one in plan.memory.spend.values()),
        "CapLost": float(sum(g.snapshot.traffic.n_late for g in plan.groups if is_capped(g, told))),
        **({"LateShare": n_late / n_started} if n_started else {}),
        "QueueTimeS": max((item.queue_time_s for item in traffic), default=0.0),
        "Waiting": float(sum(group.snapshot.waiting.n for group in plan.groups)),
        "Grants": float(n_started),
        "Conflicts": float(sum(item.n_refused for item in traffic)),
        "ReportLagS": max((view.now - worker.reported_at for worker in ready), default=0.0),
        "UnknownInventory": float(not view.inventory.is_trusted),
        "StrayInstances": float(len(plan.reconciliation.unclaimed)),
        "OpenBreakers": float(
            sum(1 for record in plan.memory.reputation.templates.values() if record.n_openings)
        ),
        "CreatesFailed": float(n_failed_creates),
    }


def _decision_facts(
    group: GroupPlan, action: Action, now: float, *, is_shadow: bool
) -> dict[str, object]:
    facts: dict[str, object] = {
        "action": action_name(action),
        "round": round(now, 3),
        "reason": reason_facts(action.reason),
        "hot_target": group.decision.hot_target,
        "binding": group.decision.binding,
    }
    if is_shadow:
        facts["shadow"] = True
    if isinstance(action, RentOffer):
        facts["autogroup_id"] = action.autogroup_id
        facts["offer"] = asdict(action.offer)
        offer = action.offer
        price = f"${offer.usd_per_hour:.3f} an hour"
        kind = "an interruptible" if offer.is_bid else "a"
        facts["subject"] = f"{kind} {offer.gpu_type} at {price} (offer {offer.offer_id})"
        return facts
    by_id = {worker.instance_id: worker for worker in group.snapshot.workers}
    worker = by_id.get(action.instance_id)
    facts["instance_id"] = action.instance_id
    facts["autogroup_id"] = worker.autogroup_id if worker else 0
    kind = f" ({worker.gpu_type})" if worker else ""
    facts["subject"] = f"instance {action.instance_id}{kind}"
    return facts


def _event(
    now: float,
    scope: str,
    kind: str,
    message: str,
    facts: Mapping[str, object],
    *,
    level: str = "info1",
) -> Event:
    return Event(
        at=now, scope=scope, level=level, kind=kind, message=message, facts=facts, actor=ACTOR
    )
