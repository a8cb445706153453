"""What a worker has to do: shown by its last report, or granted since and on the way.

`granted_load` of a row only grows, so what was granted in a span is a difference of two of its
values; `granted_marks` keeps a few (time, granted_load) pairs. A grant that the worker never shows
(its client died, or went elsewhere) expires after `UNSEEN_EXPIRES_S`; before that it may come, so
the worker is not empty, but it makes others wait only while it is likely to (`coming_load`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.core.model.worker import Worker

# Two reports: a worker that got the request has shown it by then (protocol.md C.3).
UNSEEN_EXPIRES_S = 20.0

SEEN_WITHIN_S = 1.5
"""A client uses its ticket at once (a lookup and a TLS handshake: below a second), and our workers
report each second when busy: a report so long after a grant shows it, or it holds no place. A
second more let bursts of unused tickets stop a small fleet for ten (`tests/adversary/crowds.py`);
who takes longer on the way finds, once in a while, one more request before his."""

CHANCE = 0.75  # chosen: one in four is luckier, and then it waits for a report or two
REPORTS_S = 2.0  # what came since the last report that a view knows: two of them
UNUSED_FADES_S = 60.0  # chosen: a minute's traffic tells who uses what he takes
UNUSED_SHARE = 0.15
"""Of what came in `UNUSED_FADES_S`, nine seconds of it: with more unused, callers take more tickets
than they use. Chosen: clients that die on the way are rarer by far, and those that upload for ten
seconds before their ticket is read leave 8.5 s of it. From `python -m tests.adversary`: a holder of
a shared key who used none cost the others up to 90 points of their on-time share."""

OBSERVED_MARGIN = 1.25
"""How far a benchmark may exceed the throughput observed under saturation and still be believed."""

_MARKS_REACH_S = 150.0  # chosen: longer than any grant stays unseen
# Chosen: (younger than, seconds apart), fine where a report may still tell, coarse before.
_SPACINGS = ((SEEN_WITHIN_S + 1.0, 1.0), (25.0, 10.0), (_MARKS_REACH_S, 40.0))
MAX_MARKS = 9  # chosen: bounds the row

LEAST_REQUESTS = 0.05  # what has faded to less than a twentieth of a request is none

WAITING_ENDS_S = 20.0
"""A request that was not polled for this long was given up (protocol.md A.7): the one limit for
routers, scaler and status. Rows are refreshed every 18.7 s at least (core/routing/queue_place.py).
"""

Marks = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingRequest:
    """A request that no worker could take yet. Expires when it is no longer polled."""

    endpoint_id: int
    request_idx: int
    cost: float
    first_seen_at: float
    last_polled_at: float
    key_id: str = ""
    is_paced: bool = False  # asks again when it is told to
    needs_on_demand: bool = False  # takes no interruptible worker
    key_share: float = 1.0  # its key's weight among those that wait, as its router knew it


def pending_load(worker: Worker, now: float) -> float:
    """Load in flight at the worker, or granted and not yet seen there."""
    since_report = worker.granted_load - granted_until(worker.granted_marks, worker.reported_at)
    unseen = worker.unseen_load + max(0.0, since_report)
    return worker.working_load + min(unseen, _may_come(worker, UNSEEN_EXPIRES_S, now))


def coming_load(worker: Worker, now: float, *, is_wasted: bool) -> float:
    """Load on its way to the worker, as far as it holds places there before others.

    Where books are exact, a grant that a report `SEEN_WITHIN_S` later does not show holds none.
    `is_wasted` (`goes_unused`): then at most what usually comes between reports, and a request.
    What has come counts in full, so that nobody who uses his tickets asks for less by this.
    """
    since_report = worker.granted_load - granted_until(worker.granted_marks, worker.reported_at)
    reach_s = UNSEEN_EXPIRES_S
    if worker.boot_id:
        reach_s = min(reach_s, max(0.0, now - worker.reported_at) + SEEN_WITHIN_S)
    unseen = worker.unseen_load + max(0.0, since_report)
    coming = min(unseen, _may_come(worker, reach_s, now))
    if not is_wasted:
        return coming
    a_request = worker.received_load / worker.n_received if worker.n_received else 0.0
    return min(coming, REPORTS_S * worker.load_rate + a_request)


def _may_come(worker: Worker, span_s: float, now: float) -> float:
    """What was granted in the last `span_s` and may be on its way.

    Only reports date grants. Where none came for longer, which is our own trouble or the worker
    would not be given any, nobody knows when it was: it counts, less what the worker serves in the
    time beyond. Else a burst in an outage of our edge would hold its places until that is over.
    """
    heard_at = worker.granted_marks[-1][0] if worker.granted_marks else now
    served = believed_perf(worker) * max(0.0, now - heard_at - UNSEEN_EXPIRES_S)
    return max(0.0, granted_within(worker, span_s, now) - served)


def goes_unused(workers: Iterable[Worker]) -> bool:
    """Whether a notable share of what these were granted lately never came to them.

    At one machine alone that is the machine's doing, unless others came there meanwhile
    (`unused_load`); at most of them it is the callers'.
    """
    workers = list(workers)
    stale = [stale_load(worker) for worker in workers]
    unused = sum(worker.unused_load for worker in workers)
    if 2 * sum(load > 0 for load in stale) > len(workers):
        unused = max(unused, sum(stale))
    came = sum(worker.load_rate for worker in workers) * UNUSED_FADES_S
    return unused > UNUSED_SHARE * came


def goes_unused_at_others(workers: Sequence[Worker]) -> list[bool]:
    """For each, whether a notable share of what the others were granted never came to them.

    Of two others or more, the one that tells the most of it is not asked: it may be an accomplice.
    """
    books = [
        (max(worker.unused_load, stale_load(worker)), worker.load_rate * UNUSED_FADES_S)
        for worker in workers
    ]
    excess = [unused - UNUSED_SHARE * came for unused, came in books]
    loudest = sorted(range(len(workers)), key=lambda i: -excess[i])[:2]
    told = []
    for i, own in enumerate(excess):
        left_out = next((j for j in loudest if j != i), i) if len(workers) > 2 else i
        others = sum(excess) - own - (excess[left_out] if left_out != i else 0.0)
        told.append(others > 0.0)
    return told


def stale_load(worker: Worker) -> float:
    """Load granted so long before the last report that it should have shown it, and did not."""
    if not worker.boot_id:
        return 0.0  # books are not exact
    marks, at = worker.granted_marks, worker.reported_at
    fresh = granted_until(marks, at) - granted_until(marks, at - SEEN_WITHIN_S)
    return max(0.0, worker.unseen_load - max(0.0, fresh))


def came_share(workers: Iterable[Worker], now: float) -> float:
    """Of the load granted to these lately, the part that comes; 1 unless some goes unused."""
    workers = list(workers)
    if not goes_unused(workers):
        return 1.0
    granted = sum(granted_within(worker, UNSEEN_EXPIRES_S, now) for worker in workers)
    came = sum(worker.load_rate for worker in workers) * UNSEEN_EXPIRES_S
    return min(1.0, came / granted) if granted > 0 else 1.0


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
        spacing_s = next((s for reach_s, s in _SPACINGS if now - at < reach_s), None)
        if spacing_s is None:
            continue
        if not kept or at // spacing_s != kept[-1][0] // spacing_s:
            kept.append((at, granted))
    del kept[1 : 1 + max(0, len(kept) + 1 - MAX_MARKS)]  # the oldest says how far they reach
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


def mean_seen_cost(workers: Iterable[Worker]) -> float:
    """Of a request that came to these workers, or else was granted to them; 0 before the first."""
    workers = list(workers)
    n = sum(worker.n_received for worker in workers if worker.boot_id)
    load = sum(worker.received_load for worker in workers if worker.boot_id)
    return load / n if n and load > 0 else mean_cost(workers)


def headroom_load(worker: Worker, typical_cost: float) -> float:
    """Load at a worker that makes nobody wait: one with n slots starts the n-th request at once."""
    return max(worker.slots - 1, 0) * typical_cost


def queued_load(worker: Worker, now: float, typical_cost: float, *, is_wasted: bool) -> float:
    """What a request given to the worker now waits behind, with `headroom_load` in it.

    A slot takes one request, small or large, and a full worker frees its slots at the rate at
    which typical requests pass; so with slots the requests there count, at `typical_cost` each.
    Their own costs would not do: large ones stay longer, so those met at a worker are larger than
    those that arrive, and a worker whose slots are half free would look full.
    """
    coming = coming_load(worker, now, is_wasted=is_wasted)
    if worker.slots <= 1 or typical_cost <= 0:
        return worker.working_load + coming
    return worker.n_working * typical_cost + coming


def granted_beyond(worker: Worker, rate: float, typical_cost: float, now: float) -> float:
    """The load that a worker cannot have finished if it serves `rate` a second, whatever it says.

    The most over the spans that its marks tell: what was granted in one, less what it serves in it,
    and less `CHANCE` standard deviations of what n requests use (each as its mean, as exponential
    sizes do).
    """
    left = 0.0
    for at, granted in worker.granted_marks:
        lot = worker.granted_load - granted
        chance = CHANCE * math.sqrt(max(lot, 0.0) * typical_cost)
        left = max(left, lot - chance - rate * (now - at))
    return left


def grant_pace(worker: Worker, span_s: float, now: float) -> float:
    """Load granted per second since the newest mark that is `span_s` old; 0 without one."""
    for at, granted in reversed(worker.granted_marks):
        if now - at >= span_s:
            return max(0.0, worker.granted_load - granted) / (now - at)
    return 0.0


def is_busy(worker: Worker) -> bool:
    """Whether its own report says that half of its slots are taken, or that it works at all."""
    return worker.n_working > 0 and 2 * worker.n_working >= worker.slots


def queue_time_s(worker: Worker, now: float) -> float:
    """Seconds until a request given to the worker now would start; infinite without perf."""
    perf = believed_perf(worker)
    if perf <= 0:
        return float("inf")
    typical = mean_cost([worker])
    queued = queued_load(worker, now, typical, is_wasted=goes_unused([worker]))
    return max(0.0, queued - headroom_load(worker, typical)) / perf


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
