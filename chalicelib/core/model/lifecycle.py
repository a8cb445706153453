"""A worker's life: one table (state, event) -> state, and what raises the events.

Events come from the worker's reports, from Vast's record of the instance, from silence, from
clients and from our own actions (protocol.md D.7, plus draining, suspect and unreachable). A pair
that is not in the table changes nothing. Readiness is latched: only a restart, an error, silence or
one of our own actions ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from chalicelib.core.model.scopes import ACCOUNT_SCOPE, endpoint_scope
from chalicelib.core.model.worker import SERVING, Worker, WorkerState, replaced
from chalicelib.core.moments import is_ahead

SUSPECT_AFTER_S = 20.0  # two reports missed (protocol.md C.3)
UNREACHABLE_AFTER_S = 60.0  # five reports missed (protocol.md C.3)
EXCUSED_S = 30.0
"""A silence that is our own trouble is excused for so long at a time, and half of it before its end
anew: whoever reports last when reports come back is not blamed for having been silent."""
DOUBT_LASTS_S = 60.0  # clients' failures set a worker aside so long, if the scaler does no more
LAST_REPORTS_S = 60.0
"""An outbid machine may report so long: its program runs some 10 to 30 s beyond the loss, and the
report may be on its way (tests/evidence/vast/bid.json)."""


class WorkerEvent(StrEnum):
    """What can happen to a worker."""

    # reports
    LOADED = "loaded"  # perf > 0 and no error
    NOT_LOADED = "not_loaded"  # no perf yet and no error
    RESTARTED = "restarted"  # a loaded worker's process began anew and is not loaded yet
    FAILED = "failed"  # an error message
    # Vast's record
    MARKET_PENDING = "market_pending"
    MARKET_RUNNING = "market_running"
    MARKET_STOPPED = "market_stopped"
    HOST_OFFLINE = "host_offline"
    START_REFUSED = "start_refused"
    OUTBID = "outbid"  # an interruptible machine lost its GPU
    # An order that no listing shows, and that nobody is going to repeat.
    NOT_STARTED = "not_started"
    NOT_STOPPED = "not_stopped"
    # time and clients
    SILENT = "silent"  # for SUSPECT_AFTER_S
    LOST = "lost"  # silent for UNREACHABLE_AFTER_S
    HEARD = "heard"  # any report
    DOUBTED = "doubted"  # clients with two different keys failed on it
    # our own actions
    START = "start"
    STOP = "stop"
    DRAIN = "drain"
    RECALL = "recall"
    REBOOT = "reboot"
    DESTROY = "destroy"


_S, _E = WorkerState, WorkerEvent
_BOOTING = (_S.LOADING, _S.MODEL_LOADING, _S.STARTING, _S.REBOOTING)
_UP = (*_BOOTING, *SERVING, _S.ERROR)
_REPORTING = (_S.READY, _S.SUSPECT, _S.DRAINING)
_STAYS = (_S.STOPPED, _S.UNAVAILABLE, _S.PAUSED)
_REPORTS = (_E.LOADED, _E.NOT_LOADED, _E.RESTARTED, _E.FAILED)  # who reports, runs
_MAY_RUN = (_E.START, _E.REBOOT, _E.MARKET_RUNNING, _E.MARKET_PENDING, *_REPORTS)


def _rows(
    states: Iterable[WorkerState], event: WorkerEvent, target: WorkerState
) -> dict[tuple[WorkerState, WorkerEvent], WorkerState]:
    return {(state, event): target for state in states}


_TABLE: dict[tuple[WorkerState, WorkerEvent], WorkerState] = {
    # A loaded report makes ready whatever was on its way up, and clears doubt; it does not undo
    # our own draining, stopping or destroying.
    **_rows(
        (_S.CREATING, *_BOOTING, _S.SUSPECT, _S.UNREACHABLE, _S.ERROR, _S.PAUSED),
        _E.LOADED,
        _S.READY,
    ),
    **_rows((_S.CREATING, _S.LOADING), _E.NOT_LOADED, _S.MODEL_LOADING),
    **_rows((_S.REBOOTING, _S.UNREACHABLE, _S.ERROR), _E.NOT_LOADED, _S.STARTING),
    **_rows((*SERVING, _S.ERROR), _E.RESTARTED, _S.STARTING),
    **_rows((_S.CREATING, *_BOOTING, *SERVING), _E.FAILED, _S.ERROR),
    (_S.CREATING, _E.MARKET_PENDING): _S.LOADING,
    **_rows((_S.CREATING, _S.LOADING), _E.MARKET_RUNNING, _S.MODEL_LOADING),
    # An outbid machine that boots again: its bid wins.
    (_S.PAUSED, _E.MARKET_PENDING): _S.STARTING,
    # Somebody started it, or a start that was refused went through after all.
    **_rows(_STAYS, _E.MARKET_RUNNING, _S.STARTING),
    **_rows((_S.MODEL_LOADING, *SERVING, _S.ERROR, _S.STOPPING), _E.MARKET_STOPPED, _S.STOPPED),
    **_rows((*_BOOTING, *SERVING, _S.STOPPED), _E.HOST_OFFLINE, _S.UNAVAILABLE),
    **_rows((_S.STARTING, _S.STOPPED), _E.START_REFUSED, _S.UNAVAILABLE),
    (_S.STARTING, _E.NOT_STARTED): _S.STOPPED,
    (_S.STOPPING, _E.NOT_STOPPED): _S.STARTING,  # its next report says how far up it is
    **_rows((_S.CREATING, *_UP, _S.UNAVAILABLE), _E.OUTBID, _S.PAUSED),
    (_S.READY, _E.SILENT): _S.SUSPECT,
    **_rows((_S.READY, _S.SUSPECT), _E.LOST, _S.UNREACHABLE),
    (_S.READY, _E.DOUBTED): _S.SUSPECT,
    (_S.SUSPECT, _E.HEARD): _S.READY,
    **_rows(_STAYS, _E.START, _S.STARTING),
    **_rows((*_UP, _S.PAUSED), _E.STOP, _S.STOPPING),
    **_rows((_S.READY, _S.SUSPECT), _E.DRAIN, _S.DRAINING),
    (_S.DRAINING, _E.RECALL): _S.READY,
    **_rows(_UP, _E.REBOOT, _S.REBOOTING),
    **_rows(set(WorkerState) - {_S.FOREIGN}, _E.DESTROY, _S.DESTROYING),
}


def next_state(state: WorkerState, event: WorkerEvent, *, was_loaded: bool = False) -> WorkerState:
    """The state after an event; `was_loaded`: whether the worker was ever ready.

    A worker that was loaded before boots with its model on disk, so it is starting, not loading.
    """
    after = _TABLE.get((state, event), state)
    if was_loaded and after != state and after in (_S.LOADING, _S.MODEL_LOADING):
        return _S.STARTING
    if not was_loaded and after is _S.STARTING and after != state and event is not _E.START:
        return _S.MODEL_LOADING
    return after


def transition(
    worker: Worker, event: WorkerEvent, now: float, *, error: str = ""
) -> dict[str, object]:
    """The changes to a worker's row that an event brings, for `WorkerRepository.update`."""
    if worker.is_bid and event in (_E.START_REFUSED, _E.HOST_OFFLINE):
        event = _E.OUTBID  # somebody else has its GPU, as bid for: no fault of the host
    if worker.state is _S.PAUSED and now - worker.state_since < LAST_REPORTS_S:
        event = event if event not in _REPORTS else _E.HEARD  # a machine's last words
    after = next_state(worker.state, event, was_loaded=worker.loaded_at > 0)
    is_held = worker.state is _S.SUSPECT and now - worker.doubted_at < DOUBT_LASTS_S
    if is_held and event in (_E.HEARD, _E.LOADED):
        after = worker.state  # that it reports says nothing of how it serves
    changes: dict[str, object] = {}
    if after is not worker.state:
        changes.update(_changes_on_entry(worker, after, now))
    if event is _E.FAILED and worker.error != error:
        changes["error"] = error
    if event in (_E.LOADED, _E.RESTARTED, _E.START, _E.REBOOT) and worker.error:
        changes["error"] = ""
    if event is _E.START_REFUSED:
        changes["n_start_refusals"] = worker.n_start_refusals + 1
    if event is _E.DOUBTED and after is _S.SUSPECT:
        changes["doubted_at"] = now
    if event is _E.LOADED and worker.n_start_refusals:
        changes["n_start_refusals"] = 0
    changes.update(_rest_changes(worker, event, after, now))
    return changes


def _rest_changes(
    worker: Worker, event: WorkerEvent, after: WorkerState, now: float
) -> dict[str, object]:
    """Whether its GPU can be billed: what was stopped stays so until something lets it run."""
    if event in _MAY_RUN or after is _S.FOREIGN:
        return {"stopped_at": 0.0} if worker.stopped_at else {}
    if after is _S.STOPPED and worker.state is not _S.STOPPED:
        return {"stopped_at": now}
    if worker.state is _S.STOPPED and after is not _S.STOPPED and not worker.stopped_at:
        return {"stopped_at": worker.state_since}  # a row from before this was kept
    if event is _E.MARKET_STOPPED and after in (_S.DESTROYING, _S.UNAVAILABLE):
        return {} if worker.stopped_at else {"stopped_at": now}
    return {}


def _changes_on_entry(worker: Worker, after: WorkerState, now: float) -> dict[str, object]:
    changes: dict[str, object] = {"state": after, "state_since": now}
    if after is _S.READY:
        if worker.state in (*_BOOTING, _S.CREATING):
            changes["started_at"] = now
        if not worker.loaded_at:
            changes["loaded_at"] = now
            changes["load_s"] = 0.0  # a row that serves is large enough
    if worker.state is _S.DRAINING:
        changes.update(after_drain=None, drain_by=None)
    if after is _S.PAUSED:
        changes["n_cut"] = max(worker.n_working, 0)
        changes["url"] = ""  # its ports may be somebody else's by the time it comes back
    if after in (_S.STOPPED, _S.STARTING, _S.REBOOTING, _S.PAUSED):
        changes.update(working_load=0.0, n_working=0, unseen_load=0.0)
    return changes


TELL_EVERY_S, TOLD_AT_ONCE = 60.0, 8
"""A worker's life from the order to ready has about eight states; a flood of 359 reports in 12 s
left 358 events (tests/services/test_report_flood.py)."""
_TOLD_AHEAD_S = (TOLD_AT_ONCE + 1) * TELL_EVERY_S  # so far ahead lies a budget that is used up
_MOMENTS = (
    *("created_at", "state_since", "stopped_at", "loaded_at", "started_at", "doubted_at"),
    "reported_at",
)


def moments_corrected(worker: Worker, now: float) -> dict[str, object]:
    """The changes to a row that a wrong clock wrote: what lies ahead there has passed now."""
    changes: dict[str, object] = {
        name: now for name in _MOMENTS if is_ahead(getattr(worker, name), now)
    }
    if is_ahead(worker.told_until, now + _TOLD_AHEAD_S):
        changes["told_until"] = now
    if is_ahead(worker.excused_until, now + EXCUSED_S):
        changes["excused_until"] = 0.0
    if changes and worker.drain_by is not None:
        changes["drain_by"] = now + max(worker.drain_by - worker.state_since, 0.0)
    marks = tuple(mark for mark in worker.granted_marks if not is_ahead(mark[0], now))
    if marks != worker.granted_marks:
        changes["granted_marks"] = marks
    return changes


def market_event(intended_status: str | None, actual_status: str | None) -> WorkerEvent | None:
    """The event in Vast's `intended_status` and `actual_status`; None if they say nothing yet."""
    if actual_status == "offline":
        return _E.HOST_OFFLINE
    if intended_status == "stopped":
        return _E.MARKET_STOPPED if actual_status in ("exited", "stopped") else None
    if actual_status == "running":
        return _E.MARKET_RUNNING
    return _E.MARKET_PENDING


def silence_event(worker: Worker, now: float) -> WorkerEvent | None:
    """Whether a worker that should report is silent or lost; counts from its last state change."""
    if worker.state not in _REPORTING:
        return None
    silent_s = now - max(heard_at(worker), worker.excused_until)
    if silent_s > UNREACHABLE_AFTER_S:
        return _E.LOST
    return _E.SILENT if silent_s > SUSPECT_AFTER_S else None


def ran_on_s(worker: Worker) -> float:
    """Seconds for which the process that was told to reboot was still heard after the order.

    0 where a new one may be on its way, and of workers that do not tell one boot from another.
    """
    is_told = worker.state is WorkerState.REBOOTING and worker.boot_id
    return max(0.0, worker.reported_at - worker.state_since) if is_told else 0.0


def is_unheard(worker: Worker, now: float) -> bool:
    """Whether a worker that should report has been silent for long, whoever is to blame."""
    return worker.state in _REPORTING and now - heard_at(worker) > SUSPECT_AFTER_S


def heard_at(worker: Worker) -> float:
    """When a worker was last heard, or came up."""
    return max(worker.reported_at, worker.started_at)


def is_their_own(last_heard_at: float, came_up_at: float) -> bool:
    """Whether a silence that others share is no trouble of ours.

    `came_up_at`: when one that is heard came up; what kept the others' reports would keep its.
    """
    return came_up_at > last_heard_at + UNREACHABLE_AFTER_S


def silent_by_themselves(workers: Iterable[Worker], now: float) -> frozenset[int]:
    """Those that stay silent though another came up since, and is heard."""
    live = [worker for worker in workers if worker.state in _REPORTING]
    came_up_at = max((w.started_at for w in live if not is_unheard(w, now)), default=0.0)
    return frozenset(
        worker.instance_id
        for worker in live
        if is_unheard(worker, now) and is_their_own(heard_at(worker), came_up_at)
    )


def silent_workers(workers: Iterable[Worker], now: float) -> frozenset[int]:
    """The silent among a group's workers that should report.

    Where more than half of them (and at least two) are silent at once that is our own trouble and
    nobody is blamed, but for those that stay so once another has come up.
    """
    live = [worker for worker in workers if worker.state in _REPORTING]
    silent = [worker for worker in live if silence_event(worker, now) is not None]
    blamed = frozenset(worker.instance_id for worker in silent)
    return blamed & silent_by_themselves(live, now) if _are_most(silent, live) else blamed


def common_silence(workers: Iterable[Worker], now: float) -> Mapping[str, Sequence[Worker]]:
    """Those that are silent through our own trouble, by scope: of the account, or of groups.

    More than half, and at least two, of those that should report. Of the account they must be on
    two hosts: the workers of several groups on one host are lost together with it.
    """
    workers = list(workers)
    own = silent_by_themselves(workers, now)
    live: dict[int, list[Worker]] = {}
    for worker in workers:
        if worker.state in _REPORTING:
            live.setdefault(worker.endpoint_id, []).append(worker)
    unheard = {
        id_: [w for w in rows if is_unheard(w, now) and w.instance_id not in own]
        for id_, rows in live.items()
    }
    everybody, silent = ([w for rows in one.values() for w in rows] for one in (live, unheard))
    hosts = {worker.host_id or -worker.instance_id for worker in silent}
    if _are_most(silent, everybody) and len(hosts) > 1:
        return {ACCOUNT_SCOPE: silent}
    return {
        endpoint_scope(id_): rows for id_, rows in unheard.items() if _are_most(rows, live[id_])
    }


def _are_most(silent: Sequence[Worker], live: Sequence[Worker]) -> bool:
    return len(silent) > max(1, len(live) / 2)


def excuse(worker: Worker, now: float) -> dict[str, object]:
    """The changes to the row of one whose silence is our own trouble: it serves, as it did."""
    changes: dict[str, object] = {}
    if worker.excused_until < now + EXCUSED_S / 2:
        changes["excused_until"] = now + EXCUSED_S
    if worker.state is _S.SUSPECT:  # it went silent a little before the others
        changes.update(transition(worker, _E.HEARD, now))
    return changes


def blame(worker: Worker, now: float, *, is_own: bool) -> dict[str, object]:
    """The changes to the row of a silent worker; `is_own`: by itself, so that no excuse holds."""
    event = silence_event(replaced(worker, excused_until=0.0) if is_own else worker, now)
    changes: dict[str, object] = {"excused_until": 0.0} if is_own and worker.excused_until else {}
    return changes | (transition(worker, event, now) if event else {})
