"""A group's snapshot from rows, intents, counters and caps: what the decision may look at. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.money.account import Account
from chalicelib.core.money.budget import (
    MICRO,
    GroupCaps,
    free_microusd_per_hour,
    must_wind_down,
    to_micro,
)
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.fleet.intents import RentIntent
from chalicelib.core.model.load import believed_perf, pending_load
from chalicelib.core.snapshot import (
    Caps,
    PendingRental,
    WorkerFacts,
)
from chalicelib.core.model.worker import Worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Doubts:
    """What stands against renting, beside the caps."""

    inventory_is_known: bool
    has_credit: bool = True
    avoided_machines: frozenset[int] = frozenset()
    open_breakers: frozenset[int] = frozenset()
    progress_at: Mapping[int, float] = field(default_factory=dict)


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
    group: EndpointGroup, account: Account, n_workers: int, doubts: Doubts, now: float
) -> Caps:
    """What may still be committed for a group; `why_not` names what forbids renting at all."""
    limits = group_caps(group)
    free, cap = free_microusd_per_hour(account, group.endpoint_id, limits, now)
    why_not = _why_not(group, account, doubts, now)
    return Caps(
        free_usd_per_hour=free / MICRO,
        free_workers=max(0, limits.max_workers - n_workers),
        may_rent=not why_not and free > 0,
        bound_by=cap,
        why_not=why_not or (cap if free <= 0 else ""),
    )


def _why_not(group: EndpointGroup, account: Account, doubts: Doubts, now: float) -> str:
    blocks = (
        (account.is_panicking, "panicking"),
        (account.is_frozen or group.frozen, "frozen"),
        (not doubts.inventory_is_known, "inventory_unknown"),
        (not doubts.has_credit, "no_credit"),
        (account.idle_today_microusd >= account.caps_idle_microusd_per_day, "cap_idle_day"),
    )
    for holds, why in blocks:
        if holds:
            return why
    return must_wind_down(account, group.endpoint_id, group_caps(group), now)


def worker_facts(
    worker: Worker, revisions: Mapping[int, int], doubts: Doubts, now: float
) -> WorkerFacts:
    """A worker as the decision sees it; `revisions`: each autogroup's newest template revision."""
    newest = revisions.get(worker.autogroup_id, worker.template_revision)
    return WorkerFacts(
        instance_id=worker.instance_id,
        autogroup_id=worker.autogroup_id,
        state=worker.state,
        state_since=worker.state_since,
        created_at=worker.created_at,
        gpu_type=worker.gpu_type,
        machine_id=worker.machine_id,
        usd_per_hour=worker.usd_per_hour,
        storage_usd_per_hour=worker.storage_usd_per_hour,
        perf=believed_perf(worker),
        observed_perf=worker.observed_perf,
        dlperf=worker.dlperf,
        pending_load=pending_load(worker, now),
        n_working=worker.n_working,
        slots=worker.slots,
        loaded_at=worker.loaded_at,
        drain_by=worker.drain_by,
        after_drain=worker.after_drain,
        n_start_refusals=worker.n_start_refusals,
        contract_ends_at=worker.contract_ends_at,
        is_outdated=worker.template_revision < newest,
        error=worker.error,
        progress_at=doubts.progress_at.get(worker.instance_id, 0.0),
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
    )
