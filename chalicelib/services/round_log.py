"""What a round leaves behind for people: decisions, troubles, the minute's series, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from chalicelib.core.account import Account
from chalicelib.core.actions import Action, Reason, RentOffer
from chalicelib.core.breakers import TEMPLATE_FAILURES
from chalicelib.core.budget import MICRO
from chalicelib.core.explain import CAP_NAMES, explain_reason
from chalicelib.core.minute_series import (
    finished,
    fleet_figures,
    gather,
    is_worth_writing,
)
from chalicelib.core.worker import WorkerState
from chalicelib.ports.event_log import Event
from chalicelib.services.acting import ACTOR
from chalicelib.services.rounds import GroupPlan, RoundPlan, RoundView

_VERBS = {
    "RentOffer": "rent",
    "StartWorker": "start",
    "DrainWorker": "drain",
    "RecallWorker": "recall",
    "StopWorker": "stop",
    "RebootWorker": "reboot",
    "DestroyWorker": "destroy",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundOutcome:
    """What a round came to. `is_busy`: the next one should come soon."""

    is_busy: bool
    n_actions: int
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trouble:
    """Something an owner should know, for as long as it lasts."""

    kind: str
    scope: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Under which it is remembered."""
        return f"{self.kind}|{self.scope}"


def action_name(action: Action) -> str:
    """An action's verb: rent, start, drain, recall, stop, reboot, destroy."""
    return _VERBS[type(action).__name__]


def reason_facts(reason: Reason) -> dict[str, object]:
    """A reason as plain JSON."""
    return {"code": reason.code, "facts": dict(reason.facts), "beaten": list(reason.beaten)}


def decision_events(groups: Iterable[GroupPlan], now: float) -> list[Event]:
    """One event per action, under its endpoint; rentals also under their autogroup."""
    events = []
    for group in groups:
        endpoint_id = group.snapshot.group.endpoint_id
        is_shadow = group.snapshot.group.shadow
        actions = group.decision.actions if is_shadow else group.actions
        for action in actions:
            facts = _decision_facts(group, action, now, is_shadow=is_shadow)
            done = str(facts["action"]).capitalize()
            message = f"{done} {facts['subject']}: {explain_reason(action.reason)}"
            scopes = [f"endpoint:{endpoint_id}"]
            if isinstance(action, RentOffer):
                scopes.append(f"autogroup:{action.autogroup_id}")
            events += [_event(now, scope, "decision", message, facts) for scope in scopes]
    return events


def find_troubles(view: RoundView, groups: Sequence[GroupPlan]) -> list[Trouble]:
    """What is wrong in this round: doubt, caps, and autogroups that cannot be launched."""
    troubles = []
    was_doubted = "inventory_unknown|account" in view.memory.troubles
    # A first empty listing is no trouble by itself, but it ends none either.
    if not view.inventory.is_known and (was_doubted or not view.inventory.n_empty):
        text = f"Vast's list of instances cannot be trusted: {view.inventory.problem}"
        troubles.append(Trouble(kind="inventory_unknown", scope="account", message=text))
    for group in groups:
        why_not = group.capped_by or group.snapshot.caps.why_not
        scope = f"endpoint:{group.snapshot.group.endpoint_id}"
        if "cap" in why_not.split("_"):
            cap = CAP_NAMES.get(why_not, why_not)
            text = f"a spending cap is reached ({cap}): nothing more is rented or started"
            troubles.append(
                Trouble(kind="cap_reached", scope=scope, message=text, facts={"cap": why_not})
            )
        troubles += _unlaunchable(group, view.memory.troubles)
    return troubles


def _unlaunchable(group: GroupPlan, told: Mapping[str, float]) -> list[Trouble]:
    """Autogroups that nothing can be rented for; the others of the account go on as ever.

    One whose search had no turn in this round is believed to be as it was.
    """
    found = []
    for autogroup_id in group.decision.wants_offers:
        text = f"autogroup {autogroup_id} cannot be launched: "
        trouble = Trouble(
            kind="cannot_launch",
            scope=f"autogroup:{autogroup_id}",
            message=text + group.unlaunchable.get(autogroup_id, "as before"),
        )
        was_looked_at = autogroup_id in group.snapshot.offers
        if autogroup_id in group.unlaunchable or (not was_looked_at and trouble.key in told):
            found.append(trouble)
    return found


def lasting_troubles(plan: RoundPlan) -> list[Trouble]:
    """Templates that only fail, and an account without credit."""
    troubles = []
    if plan.memory.credit_retry_at:
        text = "the Vast account has no credit left: nothing can be rented"
        troubles.append(Trouble(kind="no_credit", scope="account", message=text))
    for key, record in plan.memory.reputation.templates.items():
        if record.n_openings:
            text = (
                f"autogroup {key}: workers failed on {TEMPLATE_FAILURES} machines or more "
                f"without a success; last error: {record.last_error}"
            )
            facts = {"autogroup_id": int(key), "last_error": record.last_error}
            troubles.append(
                Trouble(kind="breaker_open", scope=f"autogroup:{key}", message=text, facts=facts)
            )
    return troubles


def trouble_events(
    before: Mapping[str, float], troubles: Sequence[Trouble], now: float
) -> tuple[list[Event], dict[str, float]]:
    """Each trouble is told once when it begins and once when it ends; and those that last."""
    lasting = {trouble.key: before.get(trouble.key, now) for trouble in troubles}
    events = [
        _event(now, trouble.scope, trouble.kind, trouble.message, trouble.facts, level="info0")
        for trouble in {trouble.key: trouble for trouble in troubles}.values()
        if trouble.key not in before
    ]
    for key, since in before.items():
        if key not in lasting:
            kind, _, scope = key.partition("|")
            text = f"{kind}: over after {now - since:.0f} s"
            events.append(_event(now, scope, f"{kind}_over", text, {}, level="info0"))
    return events, lasting


def gather_minutes(
    before: Mapping[str, Mapping[str, float]], groups: Iterable[GroupPlan], now: float
) -> tuple[dict[str, Mapping[str, float]], list[tuple[str, int, dict[str, float]]]]:
    """(the minutes in progress, those that are over and worth writing: scope, minute, values)."""
    minute = int(now // 60)
    running: dict[str, Mapping[str, float]] = {}
    over: list[tuple[str, int, dict[str, float]]] = []
    for group in groups:
        scope = f"endpoint:{group.snapshot.group.endpoint_id}"
        sums = before.get(scope, {})
        if sums and int(sums.get("minute", minute)) < minute:
            if is_worth_writing(sums):
                over.append((scope, int(sums["minute"]), finished(sums)))
                over += _autogroup_minutes(group, int(sums["minute"]))
            sums = {}
        is_capped = bool(group.capped_by)
        wanted = group.decision.hot_target
        gathered = gather(sums, group.snapshot, wanted, is_capped=is_capped)
        running[scope] = {**gathered, "minute": float(minute)}
    return running, over


def figures_of(plan: RoundPlan, account: Account, n_failed_creates: int) -> dict[str, float]:
    """Sums over all groups, for metrics and alarms."""
    traffic = [group.snapshot.traffic for group in plan.groups]
    n_started = sum(item.n_started for item in traffic)
    n_late = sum(item.n_late for item in traffic)
    view = plan.view
    ready = [worker for worker in view.workers if worker.state is WorkerState.READY]
    return {
        "UsdPerHour": account.committed_microusd_per_hour / MICRO,
        "SpentTodayUsd": account.spent_today_microusd / MICRO,
        "CapLost": float(sum(g.snapshot.traffic.n_late for g in plan.groups if g.capped_by)),
        **({"LateShare": n_late / n_started} if n_started else {}),
        "QueueTimeS": max((item.queue_time_s for item in traffic), default=0.0),
        "Waiting": float(sum(group.snapshot.waiting.n for group in plan.groups)),
        "Grants": float(n_started),
        "ReportLagS": max((view.now - worker.reported_at for worker in ready), default=0.0),
        "UnknownInventory": float(not view.inventory.is_known),
        "StrayInstances": float(len(plan.reconciliation.unclaimed)),
        "OpenBreakers": float(
            sum(1 for record in plan.memory.reputation.templates.values() if record.n_openings)
        ),
        "CreatesFailed": float(n_failed_creates),
    }


def _autogroup_minutes(group: GroupPlan, minute: int) -> list[tuple[str, int, dict[str, float]]]:
    minutes = []
    for autogroup in group.snapshot.autogroups:
        own = [w for w in group.snapshot.workers if w.autogroup_id == autogroup.autogroup_id]
        figures = fleet_figures(own)
        queues = [w.pending_load / w.perf for w in own if w.state is WorkerState.READY and w.perf]
        if queues:  # what a new request would wait at its best worker
            figures["queue_time_s"] = min(queues)
        minutes.append((f"autogroup:{autogroup.autogroup_id}", minute, figures))
    return minutes


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
        facts["subject"] = f"offer {action.offer.offer_id} ({action.offer.gpu_type})"
        return facts
    by_id = {worker.instance_id: worker for worker in group.snapshot.workers}
    worker = by_id.get(action.instance_id)
    facts["instance_id"] = action.instance_id
    facts["autogroup_id"] = worker.autogroup_id if worker else 0
    facts["subject"] = f"instance {action.instance_id}"
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
