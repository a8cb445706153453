"""Waiting: what a request that cannot be served yet is told, and what is remembered of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.load import WaitingRequest
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
from chalicelib.ports.clock import Randomness
from chalicelib.ports.errors import ConflictError, NotFoundError, StorageUnavailableError
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
class Turn:
    """An authorised request at its moment, with its history and what this router knows.

    `known_idx`: the idx it came with, if it is ours.
    """

    ports: HotPorts
    memory: RouterMemory
    request: RouteRequest
    now: float
    caller: Caller
    group: GroupMemory
    kind: ClientKind
    history: RequestIndex
    known_idx: int | None
    index_key: bytes
    cost: float  # what it counts as, whatever its caller states (core/model/usage.py)

    @property
    def stated_cost(self) -> float:
        """What the client says that the request weighs."""
        return float(self.request.cost)

    @property
    def paid(self) -> float:
        """What a quota of load pays for it: what it may use, and what such requests used.

        Its worker lets it ask for as much, and for no more.
        """
        return max(self.stated_cost, self.cost)

    @property
    def quotas(self) -> Quotas:
        """The buckets of keys, now."""
        return Quotas(ports=self.ports, memory=self.memory, now=self.now)

    @property
    def is_queued(self) -> bool:
        """Whether it is in the queue already, with a row of its own."""
        return self.known_idx is not None and self.history.kind in (
            IndexKind.WAITING,
            IndexKind.WAITING_AGAIN,
        )


def queued_as(turn: Turn) -> Queued:
    """The request as admission sees it."""
    cost = turn.cost
    return Queued(turn.history.first_seen_at, cost, turn.caller.key_id)


def answer_blindly(randomness: Randomness, request: RouteRequest, reason: str) -> dict[str, object]:
    """WAITING although nothing is known of the group: keep the idx, or draw any."""
    drawn = 1 + int(randomness.uniform() * ((1 << 53) - 2))
    return WaitingReply(
        endpoint=request.endpoint or "",
        request_idx=request.request_idx or drawn,
        status=reason,
        request_id=randomness.token(16),
        poll_after_s=poll_after_s(None, randomness.uniform(), is_overdue=False),
    ).to_json()


def answer_waiting(turn: Turn, reason: str, *, is_demand: bool = True) -> dict[str, object]:
    """WAITING, with place and ETA. Demand is remembered and the scaler is told.

    What its key's quota, or the room for rows, does not let into the queue is no demand.
    """
    view = turn.group.view
    if is_demand and (refusal := _no_place(turn)):
        is_demand, reason = False, f"{reason}; {refusal}"
    idx = _waiting_index(turn, is_queued=is_demand)
    if is_demand:
        _remember(turn, idx)
        _poke(turn, reason)
        _refresh_view(turn)
    place = _place(turn)
    return WaitingReply(
        endpoint=turn.group.facts.name,
        request_idx=idx,
        status=describe(view.n_by_state, reason, place),
        request_id=turn.ports.randomness.token(16),
        poll_after_s=next_poll_s(
            turn.history.first_seen_at,
            place.eta_s,
            turn.group.facts.params,
            turn.now,
            turn.ports.randomness.uniform(),
        ),
        place=place.n_ahead + 1 if is_demand else None,
        eta_s=place.eta_s if is_demand else None,
    ).to_json()


def answer_closed(turn: Turn, reason: str) -> dict[str, object]:
    """WAITING where the owner lets nobody be served: no place, no time, and no demand.

    It keeps its idx, and so its turn for when the group is active again.
    """
    randomness = turn.ports.randomness
    return WaitingReply(
        endpoint=turn.group.facts.name,
        request_idx=_waiting_index(turn, is_queued=True),
        status=f"{_workers(turn.group.view.n_by_state)}; {reason}",
        request_id=randomness.token(16),
        poll_after_s=poll_after_s(None, randomness.uniform(), is_overdue=False),
    ).to_json()


def _place(turn: Turn) -> Place:
    """Where it stands; what others flood is not ahead of a key that is within its share.

    Who takes no interruptible worker is promised no time while none on demand serves.
    """
    group, now = turn.group, turn.now
    place = estimate_place(queued_as(turn), now, group.view.queue, group.facts.params)
    insists = not turn.request.takes_interruptible
    free_s = group.table.next_free_s(now, is_on_demand=insists)
    if insists and free_s is None:
        return replace(place, eta_s=None)  # what is counted on may be interruptible
    if free_s is None or not group.view.cutoffs.admits(turn.caller.key_id):
        return place
    return Place(n_ahead=0, eta_s=free_s)


def describe(n_by_state: Mapping[str, int], reason: str, place: Place) -> str:
    """The status text: workers by state, why it waits, its place and ETA."""
    eta = "unknown" if place.eta_s is None else f"about {place.eta_s:.0f} s"
    where = f"place {place.n_ahead + 1}, expected start: {eta}"
    return f"{_workers(n_by_state)}; {reason}; {where}"


def _workers(n_by_state: Mapping[str, int]) -> str:
    parts = [f"total workers: {sum(n_by_state.values())}"]
    parts += [f"{state} workers: {n}" for state, n in n_by_state.items()]
    return ", ".join(parts)


def stop_waiting(turn: Turn) -> None:
    """The request was granted: its waiting row goes; if that fails it expires by itself."""
    idx = turn.known_idx
    if idx is None or not turn.is_queued:
        return
    turn.group.noted.pop(idx, None)
    try:
        check_time(turn.ports, turn.now)
        turn.ports.waiting.remove(turn.group.facts.endpoint_id, idx)
    except StorageUnavailableError as error:
        logger.warning("waiting_row_left", extra={"problem": str(error)})


def note_failure(turn: Turn) -> None:
    """A client came back from a worker: see core/routing/complaints.py."""
    slot, complaints = turn.history.slot, turn.group.complaints
    if slot is None:
        return
    now = turn.now
    complaints.failed(slot, turn.caller.key_id, now)
    n_suspect = turn.group.view.n_by_state.get(WorkerState.SUSPECT.value, 0)
    if not may_suspect(turn.group.table.n_workers, n_suspect):
        return
    if not complaints.is_convicted(slot, now):
        return
    try:
        check_time(turn.ports, now)
        _suspect(turn, slot)
    except (StorageUnavailableError, ConflictError, NotFoundError) as error:
        logger.warning("suspicion_not_noted", extra={"problem": str(error)})


def failed_lately(turn: Turn, slot: int) -> bool:
    """Whether the worker with this slot failed the caller's key within `SAME_AGAIN_S`."""
    failed_at = turn.group.complaints.last_failed_at(slot, turn.caller.key_id)
    return failed_at is not None and turn.now - failed_at < SAME_AGAIN_S


def _suspect(turn: Turn, slot: int) -> None:
    group, workers = turn.group, turn.ports.workers
    known = group.table.find_slot(slot)
    if known is None:
        return
    group.complaints.forget(slot)
    row = workers.find(group.facts.endpoint_id, known.instance_id)
    if row is None or row.state is not WorkerState.READY or _denies(row, turn.now):
        return
    changes = transition(row, WorkerEvent.DOUBTED, turn.now)
    workers.update(row.endpoint_id, row.instance_id, changes, if_state=WorkerState.READY)
    group.table.drop(known)
    turn.ports.poke.poke(row.endpoint_id, "worker_doubted")


def _denies(row: Worker, now: float) -> bool:
    """Whether the worker's own counters say that it serves: then its clients are not believed.

    One that lately reported, got all that it was granted, and counts its errors, is judged by those
    against its peers (core/fleet/failing.py); the others cannot tell of a model's error.
    """
    is_fresh = now - row.reported_at < FRESH_REPORT_S and row.unseen_load <= 0
    counts = row.boot_id != "" and row.n_served + row.n_errored > 0
    return is_fresh and counts and row.n_errored < row.n_served


def _no_place(turn: Turn) -> str | None:
    """Why a request may not join the queue: in words; None if it may, or is in it.

    Raises no StorageUnavailableError: what cannot be counted is not let in.
    """
    if turn.is_queued:
        return None
    view, key_id = turn.group.view, turn.caller.key_id
    n_of_key, row = view.n_waiting.get(key_id, 0), turn.caller.row
    limit = row.max_concurrent if row else None
    if sum(view.n_waiting.values()) >= MAX_ROWS_OF_GROUP or n_of_key >= MAX_ROWS_OF_KEY:
        return "too many requests wait already"
    if limit is not None and n_of_key >= limit:
        return f"over the quota of this key: {limit} requests at once"
    try:
        turn.quotas.take_place(row, turn.paid)
    except OverQuotaError as error:
        return str(error)
    except StorageUnavailableError as error:
        logger.warning("quota_not_asked", extra={"problem": str(error)})
        return "the control plane is catching its breath"
    return None


def _waiting_index(turn: Turn, *, is_queued: bool) -> int:
    """The idx to come back with: the same while nothing changes."""
    history = turn.history
    if turn.is_queued or (not is_queued and history.kind is IndexKind.OUTSIDE):
        known = turn.known_idx
        if known is not None:
            return known
    slot = history.slot if is_queued else None
    kind = IndexKind.WAITING if slot is None else IndexKind.WAITING_AGAIN
    nonce = int(turn.ports.randomness.uniform() * (1 << 23)) | 1  # an idx is never 0
    return RequestIndex(
        kind=kind if is_queued else IndexKind.OUTSIDE,
        n_grants=history.n_grants,
        first_seen_at=history.first_seen_at,
        slot=slot,
        low_bits=nonce,
    ).encode(turn.index_key)


def _remember(turn: Turn, idx: int) -> None:
    noted, now = turn.group.noted, turn.now
    is_known = idx == turn.known_idx and not is_note_due(idx, now, turn.history.first_seen_at)
    if is_known or now - noted.get(idx, 0.0) < NOTE_EVERY_S:
        return
    request = WaitingRequest(
        endpoint_id=turn.group.facts.endpoint_id,
        request_idx=idx,
        cost=turn.cost,
        first_seen_at=turn.history.first_seen_at,
        last_polled_at=now,
        key_id=turn.caller.key_id,
        is_paced=turn.kind is ClientKind.PACED,
        needs_on_demand=not turn.request.takes_interruptible,
        key_share=turn.caller.share,
    )
    try:
        check_time(turn.ports, now)
        turn.ports.waiting.put(request)
        noted[idx] = now
    except StorageUnavailableError as error:
        logger.warning("waiting_row_missing", extra={"problem": str(error)})


def _poke(turn: Turn, reason: str) -> None:
    group, now = turn.group, turn.now
    if now - group.poked_at >= POKE_EVERY_S:
        group.poked_at = now
        turn.ports.poke.poke(group.facts.endpoint_id, reason)


def _refresh_view(turn: Turn) -> None:
    """Who waits needs fresh cut-offs, also when no report asks for a rebuild."""
    view = turn.group.view
    if turn.now - view.built_at < STALE_VIEW_S:
        return
    endpoint_id = turn.group.facts.endpoint_id
    try:
        check_time(turn.ports, turn.now)
        if rebuild_if_due(turn.ports, turn.memory.rebuilds, endpoint_id, turn.now):
            forget_view(turn.memory, endpoint_id)
    except StorageUnavailableError as error:
        logger.warning("view_not_rebuilt", extra={"problem": str(error)})
