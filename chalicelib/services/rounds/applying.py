"""Applying facts: rows, intents and books follow what the marketplace shows; then what must go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.set_aside import autogroup_key, forgive, machine_key
from chalicelib.core.model.autogroup import AutogroupState
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.worker import Worker, WorkerState, replaced
from chalicelib.core.scaling.actions import StartWorker, StopWorker
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.ports.errors import ConflictError
from chalicelib.ports.ledger import Account
from chalicelib.ports.marketplace import MarketplaceError
from chalicelib.services.market.launching import LaunchError, launch_facts
from chalicelib.services.rounds.acting import Acting, destroy
from chalicelib.services.rounds.executor import call_for, start_on_market, stopping
from chalicelib.services.rounds.group_planning import deleted_instances
from chalicelib.services.rounds.journal.spend_log import deleted_group_event
from chalicelib.services.rounds.reading import MAX_DIRECT_LOOKS, look_at
from chalicelib.services.rounds.rentals import add_row
from chalicelib.services.rounds.values import GroupPlan, RoundPlan
from chalicelib.wire.launch_args import LaunchArgsError

_REPEATED = Reason(code=ReasonCode.REPEATED_CALL)


def apply_facts(acting: Acting, plan: RoundPlan) -> Account:
    """Write what was found; rows before intents, so that a crash in between loses nothing."""
    ports = acting.ports
    for new in plan.reconciliation.new_rows:
        worker = _as_launched(acting, plan, new.worker) if new.why == "restored" else new.worker
        if worker is None:
            continue  # it cannot be reached yet: the next round asks Vast again
        if not worker.key_id:
            worker = replaced(worker, key_id=ports.signer.newest(ports.clock.now()).key_id)
        add_row(acting, worker)
        # Its answer was lost, or a refusal: it came to something after all.
        came = [autogroup_key(worker.autogroup_id), machine_key(worker.machine_id)]
        acting.failures = forgive(acting.failures, came)
        acting.log(
            worker.endpoint_id,
            "adopted" if worker.state is WorkerState.CREATING else "stray_machines",
            f"instance {worker.instance_id}: {new.why}",
            {"instance_id": worker.instance_id, "why": new.why},
        )
    for intent in plan.view.intents:
        if intent.token in plan.view.redated:
            acting.ports.ledger.put_intent(acting.fence, intent)
    for intent in plan.reconciliation.settled:
        ports.ledger.put_intent(acting.fence, intent)
    for change in plan.row_changes:
        acting.change(change.worker, change.changes)
    next_call_at = acting.market.pacing.next_call_at
    account = ports.ledger.settle_round(acting.fence, plan.booking, next_call_at)
    for instance_id in sorted(plan.view.gone):
        _forget(acting, instance_id)
    return account


def _as_launched(acting: Acting, plan: RoundPlan, worker: Worker) -> Worker | None:
    """A machine whose intent was lost, with port and TLS as its autogroup launches them.

    None while Vast does not tell the template. One that cannot be launched any more may still
    serve: then the usual port and TLS are taken.
    """
    autogroups = plan.view.autogroups
    autogroup = next(a for a in autogroups if a.autogroup_id == worker.autogroup_id)
    try:
        launch = launch_facts(acting.market, autogroup)
    except MarketplaceError:
        return None
    except (LaunchError, LaunchArgsError):
        return worker
    return replaced(worker, uses_ssl=launch.uses_ssl, worker_port=launch.worker_port)


def return_machines(acting: Acting, plan: RoundPlan) -> None:
    """Destroy what is listed and must go, in one bulk call, again and again until it is absent."""
    if not may_destroy(plan):
        return
    doomed = sorted(
        worker.instance_id
        for worker in acting.rows.values()
        if worker.state is WorkerState.DESTROYING
        and _is_free(plan, worker)
        and _is_news(plan, worker)
        and may_go(worker, is_panicking=plan.view.account.is_panicking)
    )
    view = plan.view
    if view.inventory.is_long_doubted(view.now) and not view.account.is_panicking:
        doomed = _looked_at(acting, doomed, view.now)
    if doomed:
        destroy(acting, doomed)


def _is_news(plan: RoundPlan, worker: Worker) -> bool:
    """Whether what is known was listed since it was told to go; if not, it may have gone by now.

    While a listing is under way, one order is enough until that has come.
    """
    view = plan.view
    is_told = view.inventory.is_under_way and not view.account.is_panicking
    return not is_told or worker.state_since >= view.now


def may_go(worker: Worker, *, is_panicking: bool) -> bool:
    """Whether table and label both say that a machine is ours, or its owner has said so.

    A panic is the owner's word for every label that only we can have made; a machine under another
    label waits for its owner in a panic, too.
    """
    return not worker.awaits_owner or (is_panicking and not worker.is_mislabelled)


def may_destroy(plan: RoundPlan) -> bool:
    """As planned; a panic destroys our rows' machines by id anyway."""
    return plan.view.account.is_panicking or plan.view.may_plan


def _looked_at(acting: Acting, doomed: Sequence[int], now: float) -> list[int]:
    """Those of the doomed that a direct look finds; what it finds gone is forgotten."""
    start = int(now // 4.0) % max(1, len(doomed))
    there = []
    for instance_id in [*doomed[start:], *doomed[:start]][:MAX_DIRECT_LOOKS]:
        look = look_at(acting.market, instance_id)
        if look == "there":
            there.append(instance_id)
        elif look == "gone":
            _forget(acting, instance_id)
    return there


def _is_free(plan: RoundPlan, worker: Worker) -> bool:
    """Whether no freeze holds calls about it: panic and the owner's deletions always act."""
    view = plan.view
    frozen = {group.endpoint_id for group in view.groups if group.frozen}
    is_frozen = view.account.is_frozen or worker.endpoint_id in frozen
    if view.account.is_panicking or not is_frozen:
        return True
    return worker.instance_id in deleted_instances([worker], view)


def repeat_calls(acting: Acting, plan: RoundPlan) -> None:
    """Stops and starts that the listing does not show: their calls were lost.

    Those that a freeze holds are called off: what runs serves on, and once thawed the next round
    decides again.
    """
    now = acting.ports.clock.now()
    for instance_id in sorted(plan.repeats_stop):
        worker = acting.rows.get(instance_id)
        if worker is None or worker.state is not WorkerState.STOPPING:
            continue
        if _is_free(plan, worker):
            stop = StopWorker(instance_id=instance_id, reason=_REPEATED)
            call_for(acting, stop, Verb.STOP, stopping(instance_id))
        else:
            acting.change(worker, transition(worker, WorkerEvent.NOT_STOPPED, now))
    for instance_id in sorted(plan.repeats_start):
        worker = acting.rows.get(instance_id)
        if worker is None or worker.state is not WorkerState.STARTING:
            continue
        if _is_free(plan, worker):
            start_on_market(acting, worker, StartWorker(instance_id=instance_id, reason=_REPEATED))
        else:
            acting.change(worker, transition(worker, WorkerEvent.NOT_STARTED, now))


def finish_deletions(acting: Acting, plan: RoundPlan) -> None:
    """Forget deleted groups and autogroups once no machine and no open rental of theirs is left."""
    if not plan.view.inventory.is_known:
        return
    ports, view = acting.ports, plan.view
    rows = list(acting.rows.values())
    intents = [intent for intent in ports.ledger.intents() if intent.is_open]
    busy = [(row.endpoint_id, row.autogroup_id) for row in rows]
    busy += [(intent.endpoint_id, intent.autogroup_id) for intent in intents]
    busy_groups = {endpoint_id for endpoint_id, _ in busy}
    busy_autogroups = {autogroup_id for _, autogroup_id in busy}
    deleted_groups = {
        g.endpoint_id for g in view.groups if g.state is GroupState.DELETING
    } - busy_groups
    for autogroup in view.autogroups:
        is_deleted = autogroup.state is AutogroupState.DELETING
        is_free = is_deleted and autogroup.autogroup_id not in busy_autogroups
        if is_free or autogroup.endpoint_id in deleted_groups:
            ports.groups.remove_autogroup(autogroup.autogroup_id)
            _log_deleted(acting, autogroup.endpoint_id, f"autogroup {autogroup.autogroup_id}")
    for group in view.groups:
        if group.endpoint_id in deleted_groups:
            ports.events.append([deleted_group_event(group, view.now)])
            ports.groups.remove_group(group.endpoint_id)
            _log_deleted(acting, group.endpoint_id, f"endpoint group {group.endpoint_id}")


def finish_rollouts(acting: Acting, plan: RoundPlan) -> None:
    """End the rolling updates that left no outdated worker."""
    workers = [worker for group in plan.groups for worker in group.snapshot.workers]
    outdated = {worker.autogroup_id for worker in workers if worker.is_outdated}
    ready = Counter(w.autogroup_id for w in workers if w.state is WorkerState.READY)
    for autogroup in plan.view.autogroups:
        if autogroup.rollout_by is None or autogroup.autogroup_id in outdated:
            continue
        after = replace(autogroup, rollout_by=None, revision=autogroup.revision + 1)
        try:
            acting.ports.groups.put_autogroup(after, expected_revision=autogroup.revision)
        except ConflictError:
            continue  # the owner edits it now; the next round looks again
        key = autogroup.autogroup_id
        message = f"autogroup {key}: no outdated worker is left; up to date and ready: {ready[key]}"
        facts = {"autogroup_id": autogroup.autogroup_id}
        acting.log(autogroup.endpoint_id, "rollout_finished", message, facts)


def has_deletions(plan: RoundPlan) -> bool:
    """Whether a group or an autogroup is being deleted."""
    states = {group.state for group in plan.view.groups}
    return GroupState.DELETING in states or AutogroupState.DELETING in {
        autogroup.state for autogroup in plan.view.autogroups
    }


def is_busy(plan: RoundPlan, acting: Acting) -> bool:
    """Whether the next round should come soon: load, change or doubt anywhere."""
    if acting.n_done or plan.view.gone or any(intent.is_open for intent in plan.view.intents):
        return True
    if any(worker.state.is_passing for worker in acting.rows.values()):
        return True
    view, inventory = plan.view, plan.view.inventory
    spans_rounds = inventory.is_under_way or view.listing.started_at < view.now
    if spans_rounds or (acting.rows and not inventory.is_known):  # the next listing begins at once
        return True
    return has_deletions(plan) or any(
        group.snapshot.waiting.n or group.snapshot.traffic.n_arrived or _has_load(group)
        for group in plan.groups
    )


def _has_load(group: GroupPlan) -> bool:
    return any(worker.pending_load > 0 for worker in group.snapshot.workers)


def _forget(acting: Acting, instance_id: int) -> None:
    worker: Worker | None = acting.rows.get(instance_id)
    if worker is not None:
        acting.ports.workers.remove(worker.endpoint_id, instance_id)
        acting.removed(worker)


def _log_deleted(acting: Acting, endpoint_id: int, what: str) -> None:
    message = f"{what}: deleted, no instance of it is left"
    acting.log(endpoint_id, "deleted", message, {"what": what})
