"""A group's snapshot from rows, intents, counters and caps: what the decision may look at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.fleet.observation import is_overbilling
from chalicelib.core.fleet.set_aside import Failures, n_reboot_refusals
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.lifecycle import heard_at, ran_on_s
from chalicelib.core.model.load import (
    WaitingRequest,
    believed_perf,
    granted_until,
    pending_load,
    pending_requests,
    queue_time_s,
)
from chalicelib.core.model.usable import usable_workers
from chalicelib.core.model.usage import combine_uses, heard, usual_use
from chalicelib.core.model.worker import Worker, WorkerState, is_outdated
from chalicelib.core.money.account import Account
from chalicelib.core.money.budget import (
    MICRO,
    Cap,
    GroupCaps,
    free_microusd_per_hour,
    must_wind_down,
    to_micro,
)
from chalicelib.core.scaling.snapshot import (
    Caps,
    PendingRental,
    Traffic,
    Waiting,
    WorkerFacts,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Guardrails:
    """What stands against renting, beside the caps."""

    inventory_is_known: bool
    listed_at: float
    has_credit: bool = True
    avoided_machines: frozenset[int] = frozenset()
    open_breakers: frozenset[int] = frozenset()
    progress_at: Mapping[int, float] = field(default_factory=dict)
    set_aside: Mapping[str, float] = field(default_factory=dict)
    unsettled: frozenset[int] = frozenset()  # machines that nobody can find, nor rule out
    extra_usd_per_hour: float = 0.0  # what the fleet may cost above what is booked
    failing: Mapping[int, str] = field(default_factory=dict)  # instances, and how they fail
    failures: Failures = field(default_factory=dict)
    silences: frozenset[str] = frozenset()  # scopes whose reports are missing by our own trouble


def group_caps(group: EndpointGroup) -> GroupCaps:
    """A group's own caps in the guard's terms."""
    params = group.params

    def micro(usd: float | None) -> int | None:
        return None if usd is None else to_micro(usd)

    return GroupCaps(
        max_workers=params.max_workers,
        microusd_per_hour=micro(params.max_usd_per_hour),
        microusd_per_day=micro(params.max_usd_per_day),
        microusd_per_month=micro(params.max_usd_per_month),
    )


def find_caps(
    group: EndpointGroup, account: Account, n_workers: int, guardrails: Guardrails, now: float
) -> Caps:
    """What may still be committed for a group; `why_not` names what forbids renting at all."""
    limits = group_caps(group)
    free, cap = free_microusd_per_hour(account, group.endpoint_id, limits, now)
    free -= min(free, to_micro(guardrails.extra_usd_per_hour))
    exceeded = must_wind_down(account, group.endpoint_id, limits, now)
    why_not = _why_not(group, account, guardrails) or exceeded
    return Caps(
        free_usd_per_hour=free / MICRO,
        free_workers=max(0, limits.max_workers - n_workers),
        may_rent=not why_not and free > 0,
        bound_by=cap,
        why_not=why_not or (cap if free <= 0 else ""),
        exceeded=exceeded,
    )


def _why_not(group: EndpointGroup, account: Account, guardrails: Guardrails) -> str:
    blocks = (
        (account.is_panicking, Cap.PANICKING),
        (account.is_frozen or group.frozen, Cap.FROZEN),
        (not guardrails.inventory_is_known, "inventory_unknown"),
        (not guardrails.has_credit, "no_credit"),
        (account.idle_today_microusd >= account.caps_idle_microusd_per_day, Cap.IDLE_DAY),
    )
    return next((why for holds, why in blocks if holds), "")


def worker_facts(
    worker: Worker, rolling: Mapping[int, Autogroup], guardrails: Guardrails, now: float
) -> WorkerFacts:
    """A worker as the decision sees it; `rolling`: the autogroups with an update in progress."""
    autogroup = rolling.get(worker.autogroup_id)
    return WorkerFacts(
        instance_id=worker.instance_id,
        autogroup_id=worker.autogroup_id,
        state=worker.state,
        state_since=worker.state_since,
        created_at=worker.created_at,
        gpu_type=worker.gpu_type,
        machine_id=worker.machine_id,
        usd_per_hour=worker.usd_per_hour,
        agreed_usd_per_hour=worker.agreed_usd_per_hour,
        is_overbilling=is_overbilling(worker),
        storage_usd_per_hour=worker.storage_usd_per_hour,
        perf=believed_perf(worker),
        rank_perf=worker.rank_perf,
        told_perf=worker.told_perf,
        observed_perf=worker.observed_perf,
        dlperf=worker.dlperf,
        load_s=worker.load_s,
        host_id=worker.host_id,
        pending_load=pending_load(worker, now),
        n_working=worker.n_working,
        n_pending=pending_requests(worker, now),
        disk_usage_gb=worker.disk_usage_gb,
        slots=worker.slots,
        loaded_at=worker.loaded_at,
        started_at=worker.started_at,
        heard_at=heard_at(worker),
        drain_by=worker.drain_by,
        after_drain=worker.after_drain,
        n_start_refusals=worker.n_start_refusals,
        contract_ends_at=worker.contract_ends_at,
        is_outdated=autogroup is not None and is_outdated(worker, autogroup),
        error=worker.error,
        is_bid=worker.is_bid,
        bid_usd_per_hour=worker.bid_usd_per_hour,
        bid_margin=worker.bid_margin,
        on_demand_usd_per_hour=worker.on_demand_usd_per_hour,
        place=worker.place,
        has_address=worker.state is not WorkerState.READY or bool(worker.url),
        ran_on_s=ran_on_s(worker),
        n_reboot_refusals=n_reboot_refusals(guardrails.failures, worker.instance_id),
        failing=guardrails.failing.get(worker.instance_id, ""),
        is_missing=worker.instance_id in guardrails.unsettled,
        is_at_rest=worker.at_rest_since is not None,
        cache=worker.cache,
        progress_at=guardrails.progress_at.get(worker.instance_id, 0.0),
    )


def pending_rental(intent: RentIntent) -> PendingRental:
    """An open intent as the decision sees it."""
    return PendingRental(
        autogroup_id=intent.autogroup_id,
        gpu_type=intent.gpu_type,
        usd_per_hour=intent.usd_per_hour,
        begun_at=intent.planned_at,
        machine_id=intent.machine_id,
        dlperf=intent.dlperf,
        is_bid=intent.is_bid,
        is_unsettled=intent.state is not IntentState.PLANNED,
    )


# Traffic of a group since the previous round, from counters that only grow.

Counters = tuple[float, float, float, float, float, float]
"""reqnum, granted load, load of repeats, late grants, refused reservations of one worker; and the
load that came to it of what was granted until its last report."""

_NOTHING: Counters = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # before the first count
_N_FIRST = 5
"""As many counters as the version before reads in one list: it fails on a longer one."""


def sum_waiting(
    requests: Sequence[WaitingRequest], *, target_queue_time: float, now: float
) -> Waiting:
    """The waiting requests of a group; overdue ones cannot start in time any more."""
    overdue = [r for r in requests if now - r.first_seen_at > target_queue_time]
    return Waiting(
        n=len(requests),
        load=sum(r.cost for r in requests),
        n_overdue=len(overdue),
        overdue_load=sum(r.cost for r in overdue),
        on_demand_load=sum(r.cost for r in requests if r.needs_on_demand),
    )


def mark_traffic(workers: Iterable[Worker], waiting: Waiting, now: float) -> Mapping[str, object]:
    """What the next round subtracts from its own counters; plain JSON."""
    counters = {str(worker.instance_id): _counters(worker) for worker in workers}
    return {
        "at": now,
        "waiting": [waiting.n, waiting.load],
        "workers": {id_: list(values[:_N_FIRST]) for id_, values in counters.items()},
        "came": {id_: values[_N_FIRST] for id_, values in counters.items()},
    }


def measure_traffic(
    mark: Mapping[str, object],
    workers: Sequence[Worker],
    waiting: Waiting,
    requests: Sequence[WaitingRequest],
    now: float,
) -> Traffic:
    """What happened since the mark.

    A worker that the mark does not know began at zero if it was created later; otherwise its past
    is unknown and counts for nothing.
    """
    at, n_waited, waited = _as_number(mark.get("at")), 0.0, 0.0
    earlier = mark.get("waiting")
    if isinstance(earlier, list) and len(earlier) == 2:
        n_waited, waited = _as_number(earlier[0]), _as_number(earlier[1])
    known = mark.get("workers")
    known = known if isinstance(known, Mapping) else {}
    known_came = mark.get("came")
    known_came = known_came if isinstance(known_came, Mapping) else {}
    deltas = [
        _delta(worker, known.get(id_), known_came.get(id_), at)
        for worker, id_ in ((worker, str(worker.instance_id)) for worker in workers)
    ]
    n_granted, granted, repeated, late, refused, came = map(
        sum, zip(_NOTHING, *deltas, strict=True)
    )
    # A worker's marks tell when it reported, not when it was asked: what was granted since the
    # mark was asked for by now at the latest.
    asked_at = [request.last_polled_at for request in requests] + [now] * (n_granted > 0)
    return Traffic(
        elapsed_s=max(0.0, now - at) if at else 0.0,
        arrived_load=max(0.0, granted - repeated + waiting.load - waited),
        vouched_load=max(0.0, came - repeated),
        usual_load=usual_use(combine_uses(heard(w.uses, w.reqnum) for w in workers)),
        n_arrived=max(0, round(n_granted + waiting.n - n_waited)),
        n_started=round(n_granted),
        n_late=round(late),
        n_refused=round(refused),
        queue_time_s=_shortest_queue(workers, now),
        last_request_at=max(asked_at, default=None),
    )


def _shortest_queue(workers: Iterable[Worker], now: float) -> float:
    ready = [queue_time_s(w, now) for w in usable_workers(workers, now)]
    return min(ready, default=0.0)


def _delta(worker: Worker, earlier: object, came: object, marked_at: float) -> Counters:
    now = _counters(worker)
    if isinstance(earlier, list | tuple):
        before = [_as_number(value) for value in earlier]
        if len(before) == _N_FIRST and came is not None:
            before.append(_as_number(came))
        # A version before this one counted less, and one after it more.
        before = [*before, *now[len(before) :]][: len(now)]
    else:
        before = [0.0] * len(now) if worker.created_at > marked_at > 0 else list(now)
    a, b, c, d, e, f = (max(0.0, new - old) for new, old in zip(now, before, strict=True))
    return a, b, c, d, e, f


def _counters(worker: Worker) -> Counters:
    n_late, n_refused = float(worker.n_late), float(worker.n_refused)
    until_report = granted_until(worker.granted_marks, worker.reported_at)
    came = max(0.0, until_report - worker.unseen_load - worker.expired_load)
    return float(worker.reqnum), worker.granted_load, worker.retry_load, n_late, n_refused, came


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
