"""Receiving workers' reports: one read and one write each, and the view when it matters."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from operator import attrgetter

from chalicelib.core.fleet import loading
from chalicelib.core.fleet.report import ReportOutcome, apply_report
from chalicelib.core.model.lifecycle import WorkerEvent
from chalicelib.core.model.scopes import endpoint_scope
from chalicelib.core.model.usage import note_uses, route_key
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.bounded import Bounded
from chalicelib.core.routing.request_index import use_key_of_index
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.ports.event_log import Event
from chalicelib.services.keys import check_worker_token
from chalicelib.services.routing.session_keys import SessionKeysMemory, ended_keys
from chalicelib.services.routing.views import RebuildMemory, rebuild_if_due, rebuild_view
from chalicelib.wire.reports import FinishedReport, WorkerReport

MAX_CONFLICTS = 3
MAX_KEPT, MAX_KEPT_WORKERS = 200, 2_000
FLAPPING_S = 1.0
"""A state that lasted less than this is news that can wait."""


@dataclass(slots=True)
class ReportsMemory:
    """What one function remembers between reports."""

    rebuilds: RebuildMemory = field(default_factory=RebuildMemory)
    finished: Bounded[tuple[int, int], list[tuple[int, float]]] = field(
        default_factory=lambda: Bounded(MAX_KEPT_WORKERS)
    )
    session_keys: SessionKeysMemory = field(default_factory=SessionKeysMemory)


@dataclass(frozen=True, slots=True)
class ReportReply:
    """What a known worker is told: the time, which key signs its tickets, whose sessions end."""

    now: float
    key_id: str
    ended_keys: tuple[str, ...] = ()


def receive_report(
    ports: HotPorts, memory: ReportsMemory, report: WorkerReport, basic_token: str
) -> ReportReply | None:
    """Apply a report to its worker's row; None for workers that are not ours.

    `basic_token`: the password of Basic auth, for workers that send no `mtoken`.

    Raises:
        StorageUnavailableError: the row cannot be read or written; the worker will repeat itself.
        KeysUnavailableError: no token can be checked.
    """
    now = ports.clock.now()
    worker = find_reporter(ports, report.worker_id, (report.token, basic_token))
    if worker is None:
        return None
    outcome = None
    for _ in range(MAX_CONFLICTS):
        outcome = apply_report(worker, report, now)
        if not outcome.is_news:
            break
        try:
            after = ports.workers.update(
                worker.endpoint_id,
                worker.instance_id,
                {**outcome.changes, **_used(memory, worker)},
                if_state=worker.state,
                if_report=(worker.boot_id, worker.report_seq, worker.report_hash),
            )
        except NotFoundError:
            return None
        except ConflictError:
            found = ports.workers.find(worker.endpoint_id, worker.instance_id)
            if found is None:
                return None
            worker = found
            continue
        memory.finished.pop((worker.endpoint_id, worker.instance_id), None)
        _follow_up(ports, memory, worker, after, outcome, now)
        break
    ended = ended_keys(ports, memory.session_keys, worker, report.session_keys, now)
    return ReportReply(now, worker.key_id, ended)


def receive_finished(
    ports: HotPorts, memory: ReportsMemory, report: FinishedReport, basic_token: str
) -> bool:
    """Note what a worker finished; whether the worker is ours.

    Requests release nothing by name: the worker's counters already say what is in flight, and an
    idx in this message is whatever a caller wrote into a ticket (protocol.md C.4). What they used
    is written with the worker's next report. It is a sign of life of the view, so a rebuild that is
    due is done.

    Raises:
        StorageUnavailableError: the row cannot be read.
        KeysUnavailableError: no token can be checked.
    """
    now = ports.clock.now()
    worker = find_reporter(ports, report.worker_id, (report.token, basic_token))
    if worker is None:
        return False
    _keep_uses(memory, worker, report)
    rebuild_if_due(ports, memory.rebuilds, worker.endpoint_id, now)
    return True


def _keep_uses(memory: ReportsMemory, worker: Worker, report: FinishedReport) -> None:
    """What the requests used that were served; lost with this container, as a sample may be."""
    kept = memory.finished.setdefault((worker.endpoint_id, worker.instance_id), [])
    for request in report.requests:
        key = use_key_of_index(request.request_idx)
        used = request.workload if request.used is None else request.used
        if request.status == "Success" and used is not None and key is not None:
            kept.append((route_key(key, request.route), used))
    del kept[:-MAX_KEPT]


def _used(memory: ReportsMemory, worker: Worker) -> dict[str, object]:
    kept = memory.finished.get((worker.endpoint_id, worker.instance_id))
    return {"uses": note_uses(worker.uses, kept)} if kept else {}


def find_reporter(ports: HotPorts, worker_id: int, tokens: tuple[str, ...]) -> Worker | None:
    """The row of the worker that holds one of these tokens, if it is this worker.

    Raises:
        StorageUnavailableError: the row cannot be read.
        KeysUnavailableError: no token can be checked.
    """
    for text in tokens:
        checked = check_worker_token(ports.secrets, text) if text else None
        if checked is None:
            continue
        endpoint_id, intent_token = checked
        worker = ports.workers.find(endpoint_id, worker_id)
        if worker is not None and hmac.compare_digest(worker.token, intent_token):
            return worker
    return None


def _follow_up(
    ports: HotPorts,
    memory: ReportsMemory,
    before: Worker,
    after: Worker,
    outcome: ReportOutcome,
    now: float,
) -> None:
    """Tell the routers: at once when a worker becomes ready or leaves, else when it is due.

    A worker that comes and goes many times a second waits its turn: each rebuild reads the fleet.
    """
    changed = after.state is not before.state
    if outcome.is_told:
        ports.events.append([_state_event(before, after, outcome, now)])
    lasted_s = now - before.state_since
    if changed and WorkerState.READY in (before.state, after.state) and lasted_s >= FLAPPING_S:
        rebuild_view(ports, after.endpoint_id, now)
        ports.poke.poke(after.endpoint_id, f"worker_{after.state}")
    else:
        # Time alone tells of a ticket that it is not used: then its place is free.
        is_quiet = not changed and _SHOWN(before) == _SHOWN(after) and after.unseen_load <= 0
        rebuild_if_due(ports, memory.rebuilds, after.endpoint_id, now, is_quiet=is_quiet)


_SHOWN = attrgetter(
    "n_working",
    "working_load",
    "n_received",
    "finished_load",
    "unseen_load",
    "perf",
    "slots",
    "ticket",
    "certificate_sha256",
    "error",
)
"""What routing sees of a report: one that tells nothing else is a sign of life."""


def _state_event(before: Worker, after: Worker, outcome: ReportOutcome, now: float) -> Event:
    facts: dict[str, object] = {
        "instance_id": after.instance_id,
        "autogroup_id": after.autogroup_id,
        "from": before.state.value,
        "to": after.state.value,
        "why": outcome.event.value if outcome.event else "",
    }
    if outcome.event is WorkerEvent.FAILED:
        facts["error"] = after.error
    took = ""
    if after.state is WorkerState.READY:
        facts["perf"] = after.perf
        packed = str(outcome.changes.get("first_load") or outcome.changes.get("last_start") or "")
        if parts := loading.unpack(packed):
            facts["load_s"], facts["slowest_part"] = parts, loading.slowest(parts)
            took = f" after {loading.sentence(parts)}"
    return Event(
        at=now,
        scope=endpoint_scope(after.endpoint_id),
        level="info0" if after.error else "info1",
        kind="worker_state",
        message=f"worker {after.instance_id}: {before.state.value} -> {after.state.value}{took}",
        facts=facts,
        actor=f"worker:{after.instance_id}",
    )
