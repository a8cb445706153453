"""Waiting: what a request that cannot be served yet is told, and what is remembered of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.admission import ClientKind, Queued
from chalicelib.core.routing.complaints import may_suspect
from chalicelib.core.routing.queue_place import (
    Place,
    estimate_place,
    is_note_due,
    next_poll_s,
    poll_after_s,
)
from chalicelib.core.routing.request_index import IndexKind, RequestIndex
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import ConflictError, NotFoundError, StorageUnavailableError
from chalicelib.ports.routing_view import WaitingRequest
from chalicelib.services.keys import Caller
from chalicelib.services.routing.memory import GroupMemory, RouterMemory, check_time, forget_view
from chalicelib.services.routing.quotas import OverQuotaError, Quotas
from chalicelib.services.routing.views import rebuild_if_due
from chalicelib.wire.routing import RouteRequest, WaitingReply

logger = logging.getLogger("ballast")

POKE_EVERY_S = 2.0
NOTE_EVERY_S = 5.0
"""By one router, a waiting row is refreshed this often at most; it counts for 20 s."""

STALE_VIEW_S = 2.0
FRESH_REPORT_S = 20.0
SAME_AGAIN_S = 3.0
"""Where there is no other worker, a client may come back to the one that failed it after this."""

MAX_ROWS_OF_KEY, MAX_ROWS_OF_GROUP = 4_000, 10_000
"""Waiting rows are read at each rebuild of the view, some 150 bytes each. What waits beyond them is
served all the same, and comes to no place in the queue until there is room."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """A request as it came in, and what it came to."""

    ports: HotPorts
    memory: RouterMemory
    request: RouteRequest
    now: float

    @property
    def cost(self) -> float:
        """What the client says that the request weighs."""
        return float(self.request.cost)

    @property
    def quotas(self) -> Quotas:
        """The buckets of keys, now."""
        return Quotas(ports=self.ports, memory=self.memory, now=self.now)

    def blind_reply(self, reason: str) -> dict[str, object]:
        """WAITING although nothing is known of the group: keep the idx, or draw any."""
        drawn = 1 + int(self.ports.randomness.uniform() * ((1 << 53) - 2))
        return WaitingReply(
            endpoint=self.request.endpoint or "",
            request_idx=self.request.request_idx or drawn,
            status=reason,
            request_id=self.ports.randomness.token(16),
            poll_after_s=poll_after_s(None, self.ports.randomness.uniform(), is_overdue=False),
        ).to_json()


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiter:
    """An authorised request with its history. `known_idx`: the idx it came with, if it is ours."""

    asker: Asker
    caller: Caller
    group: GroupMemory
    kind: ClientKind
    history: RequestIndex
    known_idx: int | None
    index_key: bytes
    cost: float  # what it counts as, whatever its caller states (core/model/usage.py)

    @property
    def paid(self) -> float:
        """What a quota of load pays for it: what it may use, and what such requests used.

        Its worker lets it ask for as much, and for no more.
        """
        return max(self.asker.cost, self.cost)

    @property
    def is_queued(self) -> bool:
        """Whether it is in the queue already, with a row of its own."""
        return self.known_idx is not None and self.history.kind in (
            IndexKind.WAITING,
            IndexKind.WAITING_AGAIN,
        )


def queued_as(waiter: Waiter) -> Queued:
    """The request as admission sees it."""
    cost = waiter.cost
    return Queued(waiter.history.first_seen_at, cost, waiter.caller.key_id)


def answer_waiting(waiter: Waiter, reason: str, *, is_demand: bool = True) -> dict[str, object]:
    """WAITING, with place and ETA. Demand is remembered and the scaler is told.

    What its key's quota, or the room for rows, does not let into the queue is no demand.
    """
    asker, view = waiter.asker, waiter.group.view
    is_active = waiter.group.facts.state is GroupState.ACTIVE
    if is_demand and is_active and (refusal := _no_place(waiter)):
        is_demand, reason = False, f"{reason}; {refusal}"
    idx = _waiting_index(waiter, is_queued=is_demand or not is_active)
    if is_demand and is_active:
        _remember(waiter, idx)
        _poke(waiter, reason)
        _refresh_view(waiter)
    place = _place(waiter)
    return WaitingReply(
        endpoint=waiter.group.facts.name,
        request_idx=idx,
        status=describe(view.n_by_state, reason, place),
        request_id=asker.ports.randomness.token(16),
        poll_after_s=next_poll_s(
            waiter.history.first_seen_at,
            place.eta_s,
            waiter.group.facts.params,
            asker.now,
            asker.ports.randomness.uniform(),
        ),
        place=place.n_ahead + 1 if is_demand else None,
        eta_s=place.eta_s if is_demand else None,
    ).to_json()


def _place(waiter: Waiter) -> Place:
    """Where it stands; what others flood is not ahead of a key that is within its share."""
    group, now = waiter.group, waiter.asker.now
    place = estimate_place(queued_as(waiter), now, group.view.queue, group.facts.params)
    free_s = group.table.next_free_s(now)
    if free_s is None or not group.view.cutoffs.admits(waiter.caller.key_id):
        return place
    return Place(n_ahead=0, eta_s=free_s)


def describe(n_by_state: Mapping[str, int], reason: str, place: Place) -> str:
    """The status text: workers by state, why it waits, its place and ETA."""
    parts = [f"total workers: {sum(n_by_state.values())}"]
    parts += [f"{state} workers: {n}" for state, n in n_by_state.items()]
    eta = "unknown" if place.eta_s is None else f"about {place.eta_s:.0f} s"
    return f"{', '.join(parts)}; {reason}; place {place.n_ahead + 1}, expected start: {eta}"


def stop_waiting(waiter: Waiter) -> None:
    """The request was granted: its waiting row goes; if that fails it expires by itself."""
    idx = waiter.known_idx
    if idx is None or not waiter.is_queued:
        return
    waiter.group.noted.pop(idx, None)
    try:
        check_time(waiter.asker.ports, waiter.asker.now)
        waiter.asker.ports.waiting.remove(waiter.group.facts.endpoint_id, idx)
    except StorageUnavailableError as error:
        logger.warning("waiting_row_left", extra={"problem": str(error)})


def note_failure(waiter: Waiter) -> None:
    """A client came back from a worker: see core/routing/complaints.py."""
    slot, complaints = waiter.history.slot, waiter.group.complaints
    if slot is None:
        return
    now = waiter.asker.now
    complaints.failed(slot, waiter.caller.key_id, now)
    n_suspect = waiter.group.view.n_by_state.get(WorkerState.SUSPECT.value, 0)
    if not may_suspect(waiter.group.table.n_workers, n_suspect):
        return
    if not complaints.is_convicted(slot, now):
        return
    try:
        check_time(waiter.asker.ports, now)
        _suspect(waiter, slot)
    except (StorageUnavailableError, ConflictError, NotFoundError) as error:
        logger.warning("suspicion_not_noted", extra={"problem": str(error)})


def failed_lately(waiter: Waiter, slot: int) -> bool:
    """Whether the worker with this slot failed the caller's key within `SAME_AGAIN_S`."""
    failed_at = waiter.group.complaints.last_failed_at(slot, waiter.caller.key_id)
    return failed_at is not None and waiter.asker.now - failed_at < SAME_AGAIN_S


def _suspect(waiter: Waiter, slot: int) -> None:
    group, workers = waiter.group, waiter.asker.ports.workers
    known = group.table.find_slot(slot)
    if known is None:
        return
    group.complaints.forget(slot)
    row = workers.find(group.facts.endpoint_id, known.instance_id)
    if row is None or row.state is not WorkerState.READY or _denies(row, waiter.asker.now):
        return
    changes = transition(row, WorkerEvent.DOUBTED, waiter.asker.now)
    workers.update(row.endpoint_id, row.instance_id, changes, if_state=WorkerState.READY)
    group.table.drop(known)
    waiter.asker.ports.poke.poke(row.endpoint_id, "worker_doubted")


def _denies(row: Worker, now: float) -> bool:
    """Whether the worker's own counters say that it serves: then its clients are not believed.

    One that lately reported, got all that it was granted, and counts its errors, is judged by those
    against its peers (core/fleet/failing.py); the others cannot tell of a model's error.
    """
    is_fresh = now - row.reported_at < FRESH_REPORT_S and row.unseen_load <= 0
    counts = row.boot_id != "" and row.n_served + row.n_errored > 0
    return is_fresh and counts and row.n_errored < row.n_served


def _no_place(waiter: Waiter) -> str | None:
    """Why a request may not join the queue: in words; None if it may, or is in it.

    Raises no StorageUnavailableError: what cannot be counted is not let in.
    """
    if waiter.is_queued:
        return None
    view, key_id = waiter.group.view, waiter.caller.key_id
    n_of_key, row = view.n_waiting.get(key_id, 0), waiter.caller.row
    limit = row.max_concurrent if row else None
    if sum(view.n_waiting.values()) >= MAX_ROWS_OF_GROUP or n_of_key >= MAX_ROWS_OF_KEY:
        return "too many requests wait already"
    if limit is not None and n_of_key >= limit:
        return f"over the quota of this key: {limit} requests at once"
    try:
        waiter.asker.quotas.take_place(row, waiter.paid)
    except OverQuotaError as error:
        return str(error)
    except StorageUnavailableError as error:
        logger.warning("quota_not_asked", extra={"problem": str(error)})
        return "the control plane is catching its breath"
    return None


def _waiting_index(waiter: Waiter, *, is_queued: bool) -> int:
    """The idx to come back with: the same while nothing changes."""
    history = waiter.history
    if waiter.is_queued or (not is_queued and history.kind is IndexKind.OUTSIDE):
        known = waiter.known_idx
        if known is not None:
            return known
    slot = history.slot if is_queued else None
    kind = IndexKind.WAITING if slot is None else IndexKind.WAITING_AGAIN
    nonce = int(waiter.asker.ports.randomness.uniform() * (1 << 23)) | 1  # an idx is never 0
    return RequestIndex(
        kind=kind if is_queued else IndexKind.OUTSIDE,
        n_grants=history.n_grants,
        first_seen_at=history.first_seen_at,
        slot=slot,
        low_bits=nonce,
    ).encode(waiter.index_key)


def _remember(waiter: Waiter, idx: int) -> None:
    noted, now = waiter.group.noted, waiter.asker.now
    is_known = idx == waiter.known_idx and not is_note_due(idx, now, waiter.history.first_seen_at)
    if is_known or now - noted.get(idx, 0.0) < NOTE_EVERY_S:
        return
    request = WaitingRequest(
        endpoint_id=waiter.group.facts.endpoint_id,
        request_idx=idx,
        cost=waiter.cost,
        first_seen_at=waiter.history.first_seen_at,
        last_polled_at=now,
        key_id=waiter.caller.key_id,
        is_paced=waiter.kind is ClientKind.PACED,
        needs_on_demand=not waiter.asker.request.takes_interruptible,
    )
    try:
        check_time(waiter.asker.ports, now)
        waiter.asker.ports.waiting.put(request)
        noted[idx] = now
    except StorageUnavailableError as error:
        logger.warning("waiting_row_missing", extra={"problem": str(error)})


def _poke(waiter: Waiter, reason: str) -> None:
    group, now = waiter.group, waiter.asker.now
    if now - group.poked_at >= POKE_EVERY_S:
        group.poked_at = now
        waiter.asker.ports.poke.poke(group.facts.endpoint_id, reason)


def _refresh_view(waiter: Waiter) -> None:
    """Who waits needs fresh cut-offs, also when no report asks for a rebuild."""
    asker, view = waiter.asker, waiter.group.view
    if asker.now - view.built_at < STALE_VIEW_S:
        return
    endpoint_id = waiter.group.facts.endpoint_id
    try:
        check_time(asker.ports, asker.now)
        if rebuild_if_due(asker.ports, asker.memory.rebuilds, endpoint_id, asker.now):
            forget_view(asker.memory, endpoint_id)
    except StorageUnavailableError as error:
        logger.warning("view_not_rebuilt", extra={"problem": str(error)})
