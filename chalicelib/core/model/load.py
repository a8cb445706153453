"""What a worker has to do: shown by its last report, or granted since and on the way.

`granted_load` of a row only grows, so what was granted in a span is a difference of two of its
values; `granted_marks` keeps a few (time, granted_load) pairs. A grant that the worker never shows
(its client died, or went elsewhere) expires after `UNSEEN_EXPIRES_S`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from chalicelib.core.model.worker import Worker

# Two reports: a worker that got the request has shown it by then (protocol.md C.3).
UNSEEN_EXPIRES_S = 20.0
OBSERVED_MARGIN = 1.25
"""How far a benchmark may exceed the throughput observed under saturation and still be believed."""

_MARKS_REACH_S = 150.0  # chosen: longer than any grant stays unseen
# Chosen: fine where a report may still tell, coarse before; bounds the row.
_FINE_REACH_S, _FINE_S, _COARSE_S = 25.0, 5.0, 32.0

Marks = tuple[tuple[float, float], ...]


def pending_load(worker: Worker, now: float) -> float:
    """Load in flight at the worker, or granted and not yet seen there."""
    since_report = worker.granted_load - granted_until(worker.granted_marks, worker.reported_at)
    unseen = worker.unseen_load + max(0.0, since_report)
    return worker.working_load + min(unseen, granted_within(worker, UNSEEN_EXPIRES_S, now))


def pending_requests(worker: Worker, now: float) -> int:
    """Requests in flight at the worker, and about how many are on the way to it."""
    unseen = max(0.0, pending_load(worker, now) - worker.working_load)
    typical = mean_cost([worker])
    return worker.n_working + (math.ceil(unseen / typical) if typical > 0 else 0)


def granted_until(marks: Marks, at: float) -> float:
    """The granted load at the newest mark that is not after `at`; 0 before the first."""
    for marked_at, granted in reversed(marks):
        if marked_at <= at:
            return granted
    return 0.0


def granted_within(worker: Worker, span_s: float, now: float) -> float:
    """Load granted in the last `span_s`, at most one mark's spacing too much."""
    return max(0.0, worker.granted_load - granted_until(worker.granted_marks, now - span_s))


def add_mark(marks: Marks, now: float, granted_load: float) -> Marks:
    """The marks with a new one, thinned to the oldest of each span of time: about 11 in all."""
    if marks and marks[-1][0] >= now:
        return marks
    kept: list[tuple[float, float]] = []
    for at, granted in marks:
        spacing_s = _FINE_S if now - at < _FINE_REACH_S else _COARSE_S
        is_first_of_span = not kept or at // spacing_s != kept[-1][0] // spacing_s
        if is_first_of_span and now - at < _MARKS_REACH_S:
            kept.append((at, granted))
    return (*kept, (now, granted_load))


def believed_perf(worker: Worker) -> float:
    """Load per second to reckon with: the benchmark, unless a saturated worker proved it wrong."""
    if worker.observed_perf > 0:
        return min(worker.perf, worker.observed_perf * OBSERVED_MARGIN)
    return worker.perf


def mean_cost(workers: Iterable[Worker]) -> float:
    """Of a request granted to these workers; 0 before the first."""
    n, load = 0, 0.0
    for worker in workers:
        n, load = n + worker.reqnum, load + worker.granted_load
    return load / n if n else 0.0


def headroom_load(worker: Worker, typical_cost: float) -> float:
    """Load at a worker that makes nobody wait: one with n slots starts the n-th request at once."""
    return max(worker.slots - 1, 0) * typical_cost


def queued_load(worker: Worker, now: float, typical_cost: float) -> float:
    """What a request given to the worker now waits behind, with `headroom_load` in it.

    A slot takes one request, small or large, and a full worker frees its slots at the rate at
    which typical requests pass; so with slots the requests there count, at `typical_cost` each.
    Their own costs would not do: large ones stay longer, so those met at a worker are larger than
    those that arrive, and a worker whose slots are half free would look full.
    """
    pending = pending_load(worker, now)
    if worker.slots <= 1 or typical_cost <= 0:
        return pending
    unseen = max(0.0, pending - worker.working_load)
    return worker.n_working * typical_cost + unseen


def queue_time_s(worker: Worker, now: float) -> float:
    """Seconds until a request given to the worker now would start; infinite without perf."""
    perf = believed_perf(worker)
    if perf <= 0:
        return float("inf")
    typical = mean_cost([worker])
    return max(0.0, queued_load(worker, now, typical) - headroom_load(worker, typical)) / perf


def is_empty(worker: Worker, now: float) -> bool:
    """Whether nothing is in flight at the worker or on its way to it."""
    return worker.n_working == 0 and pending_load(worker, now) <= 0


def reliability(workers: Iterable[Worker]) -> float:
    """The share of their load that workers did not turn away; 1 before any came."""
    received = rejected = 0.0
    for worker in workers:
        received += worker.received_load
        rejected += worker.rejected_load
    return 1.0 - min(1.0, rejected / received) if received > 0 else 1.0
