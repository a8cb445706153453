"""Reports: what one changes in a worker's row.

Duplicates and old reports change nothing; deltas are added once, cumulative counters replace. A
worker that sends a boot id and a sequence number (generation D) is accounted exactly; for the
others a repeated body is a duplicate, and a count of received requests that goes back soon after
the last report marks an old one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.core.fleet import loading
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.lifecycle import (
    TELL_EVERY_S,
    TOLD_AT_ONCE,
    WorkerEvent,
    next_state,
    transition,
)
from chalicelib.core.model.load import (
    OBSERVED_MARGIN,
    SEEN_WITHIN_S,
    UNSEEN_EXPIRES_S,
    UNUSED_FADES_S,
    add_mark,
    grant_pace,
    granted_until,
    granted_within,
)
from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import Worker, WorkerState, replaced

OLD_REPORTS_END_S = 30.0
"""No report is delivered later than this: after it, counters that went back are a new process."""

LEAK_REACH_S = 120.0
"""Generation A never forgets some requests; what is older than this is not counted in flight."""

RATE_SMOOTHING_S = 15.0  # chosen: one and a half reports of an idle worker (protocol.md C.3)

SATURATED_S = 2.0
"""With at least this much work queued a worker's throughput is its capacity."""

MOST_AT_ONCE, MOST_SLOTS = 256, 1024
"""With so many requests at it a worker serves what it can, whatever it says of its speed and slots:
one alone that claimed ten thousand times its speed was never full by its own account, so that no
work of it was ever judged. Chosen: the requests that model servers batch by default or less."""

PROOF_S = 60.0
"""Nothing is finished faster than it is granted over so long. Chosen: the queue that a worker may
have, seconds long, hardly counts in a minute, and marks (core/model/load.py) reach twice as far."""

MIN_OBSERVED_N, OBSERVED_N = 10, 50
"""Requests (or one for each slot) before a perf is judged; requests that the judgement averages, or
those before it, if they are more."""


class Report(Protocol):
    """A report in neutral terms; `wire.reports.WorkerReport` is one."""

    @property
    def content_hash(self) -> str: ...
    @property
    def generation(self) -> str | None: ...
    @property
    def version(self) -> str: ...
    @property
    def error(self) -> str | None: ...
    @property
    def perf(self) -> float | None: ...
    @property
    def n_working(self) -> int | None: ...
    @property
    def slots(self) -> int | None: ...
    @property
    def n_received(self) -> int | None: ...
    @property
    def n_served(self) -> int | None: ...
    @property
    def n_errored(self) -> int | None: ...
    @property
    def n_cancelled(self) -> int | None: ...
    @property
    def n_rejected(self) -> int | None: ...
    @property
    def working_load(self) -> float | None: ...
    @property
    def arrival_rate(self) -> float | None: ...
    @property
    def arrived_load(self) -> float | None: ...
    @property
    def served_load(self) -> float | None: ...
    @property
    def rejected_load(self) -> float | None: ...
    @property
    def received_total(self) -> float | None: ...
    @property
    def finished_total(self) -> float | None: ...
    @property
    def rejected_total(self) -> float | None: ...
    @property
    def prompt_tokens(self) -> float | None: ...
    @property
    def hit_share(self) -> float | None: ...
    @property
    def spared_share(self) -> float | None: ...
    @property
    def boot_id(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def disk_usage_gb(self) -> float | None: ...
    @property
    def certificate_sha256(self) -> str: ...
    @property
    def load_phases(self) -> tuple[tuple[str, float], ...]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportOutcome:
    """What a report changes, for `WorkerRepository.update`; nothing if it is no news."""

    is_news: bool
    event: WorkerEvent | None = None
    is_told: bool = False  # whether the change of state belongs into the log
    changes: dict[str, object] = field(default_factory=dict)


def apply_report(worker: Worker, report: Report, now: float) -> ReportOutcome:
    """What a report changes in a worker's row."""
    if is_old(worker, report, now):
        return ReportOutcome(is_news=False)
    event = _event_in_reboot(worker, report, report_event(worker, report))
    is_new_process = event is WorkerEvent.RESTARTED or bool(
        report.boot_id and worker.boot_id and report.boot_id != worker.boot_id
    )
    changes: dict[str, object] = {
        "reported_at": now,
        "report_hash": report.content_hash,
        "granted_marks": add_mark(worker.granted_marks, now, worker.granted_load),
    }
    changes.update(_identity(report))
    if report.perf and report.perf < worker.perf:
        shown = min(worker.observed_perf, round(report.perf / OBSERVED_MARGIN, 6))
        changes["observed_perf"] = shown
        worker = replaced(worker, observed_perf=shown)
    if report.generation is not None:
        changes.update(_counters(worker, report, now, is_new_process=is_new_process))
    changes.update(transition(worker, event, now, error=report.error or ""))
    if changes.get("state") is WorkerState.READY:
        changes.update(_parts_of_load(worker, report, now))
    is_told = changes.get("state", worker.state) is not worker.state and may_tell(worker, now)
    if is_told:
        changes["told_until"] = max(now, worker.told_until) + TELL_EVERY_S
    return ReportOutcome(is_news=True, event=event, changes=changes, is_told=is_told)


def _parts_of_load(worker: Worker, report: Report, now: float) -> dict[str, object]:
    """What its load or start was made of; a server that only came back is neither."""
    is_first = worker.state.is_first_load
    if not report.load_phases or not (is_first or worker.state is WorkerState.STARTING):
        return {}
    ordered_at = worker.created_at if is_first else worker.state_since
    parts = loading.parts_of(report.load_phases, ordered_at=ordered_at, now=now)
    return {"first_load" if is_first else "last_start": loading.pack(parts)}


def may_tell(worker: Worker, now: float) -> bool:
    """Whether one more change of its state may be told: some at once, then one a minute.

    The budget is in the row, so it holds over all containers; a worker that says error and no error
    in turn does not bury what others, and the scaler, have to tell.
    """
    return worker.told_until - now <= TOLD_AT_ONCE * TELL_EVERY_S


def is_old(worker: Worker, report: Report, now: float) -> bool:
    """Whether this report, or a later one, was applied before."""
    if report.content_hash == worker.report_hash:
        # An idle worker of an older generation repeats itself word for word every 10 s; a
        # duplicate delivery comes within seconds.
        return report.seq > 0 or now - worker.reported_at < 5.0
    soon = now - worker.reported_at < OLD_REPORTS_END_S
    if report.boot_id:
        # The sequence starts at the epoch milliseconds of the boot, so it orders boots too.
        is_behind = report.seq <= worker.report_seq
        return is_behind and (report.boot_id == worker.boot_id or soon)
    if report.n_received is None or not report.perf:
        return False
    return report.n_received < worker.n_received and soon


def report_event(worker: Worker, report: Report) -> WorkerEvent:
    """What the report says about the worker's life: an error wins, then perf."""
    if report.error:
        return WorkerEvent.FAILED
    if report.perf is None:
        return WorkerEvent.HEARD
    if report.perf > 0:
        return WorkerEvent.LOADED
    would_stay = next_state(worker.state, WorkerEvent.RESTARTED) is worker.state
    return WorkerEvent.NOT_LOADED if would_stay else WorkerEvent.RESTARTED


def _event_in_reboot(worker: Worker, report: Report, event: WorkerEvent) -> WorkerEvent:
    """While a reboot is awaited only a new process may say how it goes: the old one has no say.

    Its last report may be on its way, or the order was ignored (`lifecycle.ran_on_s`).
    """
    if worker.state is not WorkerState.REBOOTING or not report.boot_id or not worker.boot_id:
        return event
    if report.boot_id == worker.boot_id:
        return WorkerEvent.HEARD
    return WorkerEvent.NOT_LOADED if event is WorkerEvent.HEARD else event


def _identity(report: Report) -> dict[str, object]:
    changes: dict[str, object] = {}
    if report.generation is not None:
        changes["ticket"] = TicketGeneration(report.generation)
        changes["version"] = report.version
    if report.boot_id:
        changes.update(boot_id=report.boot_id, report_seq=report.seq)
    if report.slots is not None:
        changes["slots"] = report.slots
    if report.certificate_sha256:
        changes["certificate_sha256"] = report.certificate_sha256
    if report.perf:
        changes["perf"] = report.perf
    if report.disk_usage_gb is not None:
        changes["disk_usage_gb"] = round(report.disk_usage_gb, 3)
    if report.prompt_tokens is not None:
        shares = (min(share or 0.0, 1.0) for share in (report.hit_share, report.spared_share))
        changes["cache"] = CacheUse(report.prompt_tokens, *shares)
    return changes


def _counters(
    worker: Worker, report: Report, now: float, *, is_new_process: bool
) -> dict[str, object]:
    """The load figures after this report. A new process starts its counters at zero."""
    elapsed_s = max(1.0, now - worker.reported_at)
    n_received = report.n_received or 0
    n_news = max(0, n_received - (0 if is_new_process else worker.n_received))
    mean_cost = worker.granted_load / worker.reqnum if worker.reqnum else 0.0
    granted = max(
        0.0, worker.granted_load - granted_until(worker.granted_marks, worker.reported_at)
    )
    is_exact = report.received_total is not None
    if report.received_total is None:
        seen, received = n_news * mean_cost, worker.received_load + (report.arrived_load or 0.0)
    else:
        base = 0.0 if is_new_process else worker.received_load
        received = report.received_total
        seen = max(0.0, received - base)
    left = max(0.0, worker.unseen_load + granted - seen)
    left_before = left
    if is_exact:
        left = max(0.0, left - _never_came(worker, now))
    unseen = min(left, granted_within(worker, UNSEEN_EXPIRES_S, now))
    # Only exact books tell what never came; the others' differences are mostly rounding.
    expired = left_before - unseen if is_exact else 0.0
    served = _served(worker, report, is_new_process=is_new_process)
    working = _working_load(worker, report, mean_cost, now)
    return {
        "n_received": n_received,
        "n_served": report.n_served or 0,
        "n_errored": report.n_errored or 0,
        "n_cancelled": report.n_cancelled or 0,
        "n_rejected": report.n_rejected or 0,
        "n_working": report.n_working or 0,
        "received_load": round(received, 6),
        "finished_load": _finished(worker, report, served),
        "rejected_load": _rejected(worker, report),
        "unseen_load": round(unseen, 6),
        "unused": _unused(worker, unseen, seen, now) if is_exact else (0.0, 0.0),
        "expired_load": round(worker.expired_load + expired, 6),
        "working_load": round(working, 6),
        "load_rate": _smoothed_rate(worker, _arrival_rate(report, seen, elapsed_s), elapsed_s),
        **_observed(worker, report.perf or worker.perf, working, served, now),
    }


def _unused(worker: Worker, unseen: float, seen: float, now: float) -> tuple[float, float]:
    """(load that should have come while other did, fading; the least unseen of this window).

    Where nothing comes, the worker may be out of its clients' reach: that is not their doing.
    """
    unused, least = worker.unused
    unused *= math.exp(-max(0.0, now - worker.reported_at) / UNUSED_FADES_S)
    if seen > 0:
        unused = max(unused, unseen - granted_within(worker, SEEN_WITHIN_S, now))
    least = unseen if _is_new_window(worker, now) else min(least, unseen)
    return round(unused, 3), round(least, 3)


def _never_came(worker: Worker, now: float) -> float:
    """Load that stood unseen through a whole window, at its end; 0 within one.

    What comes is nearly always what was granted last. By age alone old tickets would be taken for
    those that came, and as many new ones for unseen, as long as there is traffic.
    """
    return worker.unused[1] if _is_new_window(worker, now) else 0.0


def _is_new_window(worker: Worker, now: float) -> bool:
    return now // UNSEEN_EXPIRES_S != worker.reported_at // UNSEEN_EXPIRES_S


def _working_load(worker: Worker, report: Report, mean_cost: float, now: float) -> float:
    if report.working_load is not None:
        return report.working_load
    # Generation A says only how many; those that it leaked are older than any real request.
    return min((report.n_working or 0) * mean_cost, granted_within(worker, LEAK_REACH_S, now))


def _served(worker: Worker, report: Report, *, is_new_process: bool) -> float | None:
    if report.finished_total is None:
        return report.served_load
    return max(0.0, report.finished_total - (0.0 if is_new_process else worker.finished_load))


def _finished(worker: Worker, report: Report, served: float | None) -> float:
    if report.finished_total is not None:
        return report.finished_total
    return round(worker.finished_load + (served or 0.0), 6)


def _rejected(worker: Worker, report: Report) -> float:
    if report.rejected_total is not None:
        return report.rejected_total
    return round(worker.rejected_load + (report.rejected_load or 0.0), 6)


def _arrival_rate(report: Report, seen_load: float, elapsed_s: float) -> float:
    if report.arrival_rate is not None:
        return report.arrival_rate
    return (seen_load if report.arrived_load is None else report.arrived_load) / elapsed_s


def _smoothed_rate(worker: Worker, rate: float, elapsed_s: float) -> float:
    if not worker.reported_at:
        return round(rate, 6)
    weight = 1.0 - math.exp(-elapsed_s / RATE_SMOOTHING_S)
    return round(worker.load_rate + weight * (rate - worker.load_rate), 6)


def _observed(
    worker: Worker, perf: float, working_after: float, served: float | None, now: float
) -> dict[str, object]:
    """Throughput while saturated, over the load of the last OBSERVED_N requests.

    A long request adds nothing until it ends and then much at once, so time counts on until then,
    and nothing is concluded from few requests. All of it is the worker's own account: beyond the
    pace at which it was granted (`PROOF_S`) it shows no more than its benchmark needs to be
    believed, and that falls with its claim (`apply_report`).
    """
    if served is None or not worker.reported_at:
        return {}
    if not _is_saturated(worker, working_after):
        return {}
    elapsed_s = max(1.0, now - worker.reported_at)
    load, seconds = worker.observed_load + served, worker.observed_s + elapsed_s
    mean_cost = worker.granted_load / worker.reqnum if worker.reqnum else 0.0
    enough = max(MIN_OBSERVED_N, min(worker.slots, MOST_SLOTS)) * mean_cost
    kept = max(OBSERVED_N * mean_cost, enough)  # less than enough would never be enough
    keep = min(1.0, kept / load) if load > 0 and mean_cost > 0 else 1.0
    known = worker.observed_perf
    borne_out = max(known, perf / OBSERVED_MARGIN, grant_pace(worker, PROOF_S, now))
    return {
        "observed_load": round(load * keep, 6),
        "observed_s": round(seconds * keep, 3),
        "observed_perf": round(min(load / seconds, borne_out), 6) if load >= enough else known,
    }


def _is_saturated(worker: Worker, working_after: float) -> bool:
    """Whether no slot was free before this report; without slots, whether the queue stayed long.

    With slots free a worker serves less than it could, however much work that is by its own claim.
    How many are taken now does not matter: the request that just ended freed one.
    """
    if worker.slots > 0:
        return worker.n_working >= min(worker.slots, MOST_SLOTS)
    queued = min(worker.working_load, working_after)
    if worker.n_working >= MOST_AT_ONCE and queued > 0:
        return True
    return worker.perf > 0 and queued / worker.perf >= SATURATED_S
