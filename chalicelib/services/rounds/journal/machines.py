"""Troubles of machines: those that were lost, that do not do as they were told, or are in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chalicelib.core.fleet.breakers import TEMPLATE_FAILURES
from chalicelib.core.fleet.failing import all_fail, find_failing
from chalicelib.core.fleet.observation import is_overbilling
from chalicelib.core.fleet.set_aside import (
    FREE_TRIES,
    Failures,
    bids_key,
    order_key,
    reboot_key,
    stopping_key,
)
from chalicelib.core.fleet.troubles import Trouble, TroubleKind, present
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.lifecycle import ran_on_s
from chalicelib.core.model.scopes import ACCOUNT_SCOPE, autogroup_scope
from chalicelib.core.model.usable import Unusable, why_unusable
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.moves.repair import (
    MAX_REBOOT_REFUSALS,
    REBOOT_SHOWS_S,
    is_late_stop,
)
from chalicelib.core.words import count, listed
from chalicelib.services.rounds.values import RoundPlan

BID_TRIED_WITHIN_S = 900.0  # after its pause; whose group wants no bid by then has no trouble
LOST_COUNTS_S = 600.0  # long enough to be read, short enough to be news


def lost_machines(workers: Sequence[Worker], scope: str, now: float) -> Iterator[Trouble]:
    """Machines that went away or silent lately with requests under way: those were cut off."""
    lost = [
        worker
        for worker in workers
        if worker.state in (WorkerState.UNREACHABLE, WorkerState.UNAVAILABLE)
        and worker.n_working
        and now - worker.state_since < LOST_COUNTS_S
    ]
    if lost:
        n_requests = sum(worker.n_working for worker in lost)
        ids = listed([worker.instance_id for worker in lost])
        text = (
            f"machines lost in the last {LOST_COUNTS_S / 60:.0f} minutes: {len(lost)} ({ids}); "
            f"requests that were under way there: {n_requests}. Substitutes are rented within the "
            "caps; clients whose stream broke must ask again"
        )
        facts = {"n_machines": len(lost), "n_requests": n_requests}
        kind = TroubleKind.MACHINES_LOST
        yield Trouble(kind=kind, scope=scope, message=text, facts=facts)


def missing_reports(silences: Mapping[str, Sequence[Worker]], now: float) -> Iterator[Trouble]:
    """Most workers of the account, or of a group, are silent at once: our own trouble."""
    for scope, silent in silences.items():
        silent_s = now - max(worker.reported_at for worker in silent)
        text = (
            f"{count(len(silent), 'worker')}, more than half of those that serve, have not "
            f"reported for {silent_s:.0f} s: so many at once is a fault of the way to us. They "
            "serve on, nobody is replaced for it, and what is scaled follows the requests alone"
        )
        facts = {"n_workers": len(silent), "silent_s": silent_s}
        yield Trouble(kind=TroubleKind.REPORTS_MISSING, scope=scope, message=text, facts=facts)


def machine_troubles(
    workers: Sequence[Worker], scope: str, seen_until: float, failures: Failures
) -> Iterator[Trouble]:
    """Machines that do not do as they were told; `seen_until`: of the last listing."""
    for worker in workers:
        if why_unusable(worker) is Unusable.NO_ADDRESS:
            yield Trouble(
                kind=TroubleKind.NOT_USABLE,
                scope=scope,
                subject=str(worker.instance_id),
                message=f"instance {worker.instance_id} says that it is ready, but has no public "
                "address and port: it serves nobody, and will be replaced",
                facts={"instance_id": worker.instance_id, "machine_id": worker.machine_id},
            )
        if is_overbilling(worker):
            yield Trouble(
                kind=TroubleKind.OVERBILLED,
                scope=scope,
                subject=str(worker.instance_id),
                message=f"Vast bills ${worker.usd_per_hour:.2f} an hour for instance "
                f"{worker.instance_id}, and its offer said ${worker.agreed_usd_per_hour:.2f}: it "
                "is returned, its host is avoided, and another machine is rented in its place",
                facts={
                    "instance_id": worker.instance_id,
                    "host_id": worker.host_id,
                    "usd_per_hour": worker.usd_per_hour,
                    "agreed_usd_per_hour": worker.agreed_usd_per_hour,
                },
            )
        if ran_on_s(worker) > REBOOT_SHOWS_S:
            yield Trouble(
                kind=TroubleKind.WORKER_FAILING,
                scope=scope,
                subject=str(worker.instance_id),
                message=f"instance {worker.instance_id} was told to reboot, and its old process "
                f"still reports {ran_on_s(worker):.0f} s later: it serves nobody, is told again "
                "each minute, and will be replaced",
                facts={"instance_id": worker.instance_id, "ran_on_s": ran_on_s(worker)},
            )
        if (refusal := failures.get(reboot_key(worker.instance_id))) and worker.awaits_reboot:
            yield Trouble(
                kind=TroubleKind.WORKER_FAILING,
                scope=scope,
                subject=str(worker.instance_id),
                message=f"instance {worker.instance_id} needs a reboot, and Vast refused "
                f"{refusal.n}, lastly: {refusal.problem}; after {MAX_REBOOT_REFUSALS} it is "
                "returned, and another takes its place",
                facts={"instance_id": worker.instance_id, "refusals": refusal.n},
            )
        is_late = is_late_stop(worker, seen_until)
        if worker.state is WorkerState.DESTROYING or is_late:
            # From the first order on, not from this round: the order may be hours old already.
            text = (
                f"instance {worker.instance_id} was told to {'stop' if is_late else 'go'} and "
                "is still there; it may bill up "
                f"to ${worker.usd_per_hour:.2f} an hour"
            )
            if refusal := failures.get(order_key(worker.instance_id)):
                text += f"; {count(refusal.n, 'order')} came to nothing, lastly: {refusal.problem}"
            yield Trouble(
                kind=TroubleKind.WILL_NOT_GO,
                scope=scope,
                subject=str(worker.instance_id),
                message=text,
                facts={"instance_id": worker.instance_id, "usd_per_hour": worker.usd_per_hour},
            )


def unstoppable_machines(
    endpoint_id: int, scope: str, failures: Failures, now: float
) -> Iterator[Trouble]:
    """Machines that did not stop as they were told and were returned; nothing is parked instead."""
    failure = failures.get(stopping_key(endpoint_id))
    if failure is None or failure.until <= now:
        return
    said = f" (Vast said: {failure.problem})" if failure.problem else ""
    text = (
        f"{count(failure.n, 'machine')} in a row ran on when told to stop, and "
        f"{'was' if failure.n == 1 else 'were'} returned{said}; for "
        f"{(failure.until - now) / 60.0:.0f} more minutes nothing is rented for the reserve"
    )
    kind = TroubleKind.WILL_NOT_GO
    yield Trouble(kind=kind, scope=scope, subject="stop", message=text)


def suspected_machines(suspected: Mapping[int, str]) -> Iterator[Trouble]:
    """Instances that may be a rental without an answer; by instance, its token."""
    for instance_id, token in suspected.items():
        text = (
            f"instance {instance_id} appeared on the machine of a rental whose answer was lost, "
            "without our label: it may be that rental, bills, and is counted so for a day; label "
            f"it '{token}' and it is adopted, or destroy it on Vast's page"
        )
        kind, subject = TroubleKind.LABEL_CHANGED, str(instance_id)
        yield Trouble(kind=kind, scope=ACCOUNT_SCOPE, subject=subject, message=text)


def unsettled_machines(plan: RoundPlan, own: Sequence[Worker], scope: str) -> Iterator[Trouble]:
    """Machines that are not listed, and of which no look can say whether they are gone.

    What was not looked at yet is none; who was looked at in vain stays one until the next look.
    """
    view = plan.view
    for worker in own:
        key = f"{TroubleKind.MACHINE_UNSETTLED}|{scope}|{worker.instance_id}"
        is_unasked = worker.instance_id in view.unasked
        if is_unasked and present(view.memory.troubles, key) is None:
            continue
        if worker.instance_id in view.unsettled:
            text = (
                f"nobody can say whether instance {worker.instance_id} is gone: Vast does not list "
                f"it, and does not answer when asked about it; it may bill up to "
                f"${worker.usd_per_hour:.2f} an hour, and is counted so"
            )
            subject = str(worker.instance_id)
            kind = TroubleKind.MACHINE_UNSETTLED
            yield Trouble(kind=kind, scope=scope, subject=subject, message=text)


def failing_requests(plan: RoundPlan, own: Sequence[Worker], scope: str) -> Iterator[Trouble]:
    """Workers that fail what they are given; or requests that fail everywhere."""
    outcomes = plan.memory.outcomes
    failing = find_failing(outcomes, own, plan.view.now)
    for instance_id, why in failing.items():
        text = (
            f"instance {instance_id}: {why}; it is set aside and rebooted, and returned if that "
            "does not help"
        )
        facts = {"instance_id": instance_id, "why": why}
        subject = str(instance_id)
        kind = TroubleKind.WORKER_FAILING
        yield Trouble(kind=kind, scope=scope, subject=subject, message=text, facts=facts)
    everywhere = all_fail(outcomes, own)
    if everywhere is not None:
        text = (
            f"{everywhere.n_bad:.0f} of the last {everywhere.n:.0f} requests failed, whichever "
            "worker served them: look at the requests, the model and its template"
        )
        yield Trouble(kind=TroubleKind.REQUESTS_FAIL, scope=scope, message=text)


def open_breakers(plan: RoundPlan) -> Iterator[Trouble]:
    """Autogroups whose workers only fail."""
    for key, record in plan.memory.reputation.templates.items():
        if not record.n_openings:
            continue
        text = (
            f"autogroup {key}: workers failed on {TEMPLATE_FAILURES} machines or more "
            f"{'soon after they were ready' if record.short_lived else 'without a success'}; "
            f"last error: {record.last_error}"
        )
        facts = {"autogroup_id": int(key), "last_error": record.last_error}
        kind = TroubleKind.BREAKER_OPEN
        yield Trouble(kind=kind, scope=autogroup_scope(key), message=text, facts=facts)


def refused_bids(
    autogroups: Iterable[Autogroup], failures: Failures, now: float
) -> Iterator[Trouble]:
    """Autogroups whose bids came to nothing in a row: until one has loaded, or a try is overdue."""
    for autogroup in autogroups:
        failure = failures.get(bids_key(autogroup.autogroup_id))
        if failure is None or failure.n <= FREE_TRIES or now - failure.until > BID_TRIED_WITHIN_S:
            continue
        text = (
            f"autogroup {autogroup.autogroup_id}: {count(failure.n, 'bid')} in a row came to "
            f"nothing, the last: {failure.problem}; what is wanted is rented on demand, and a bid "
            f"is tried again {max(failure.until - now, 0.0) / 60:.0f} min from now"
        )
        scope = autogroup_scope(autogroup.autogroup_id)
        yield Trouble(kind=TroubleKind.BIDS_REFUSED, scope=scope, message=text)
