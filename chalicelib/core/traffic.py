"""Traffic of a group since the previous round, from counters that only grow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.model.load import queue_time_s
from chalicelib.core.snapshot import Traffic, Waiting
from chalicelib.core.model.worker import Worker, WorkerState

Counters = tuple[float, float, float, float, float]
"""reqnum, granted load, load of repeats, late grants, refused reservations of one worker."""

_NOTHING: Counters = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class WaitingFacts:
    """One waiting request, as far as the decision needs it."""

    first_seen_at: float
    last_polled_at: float
    cost: float


def sum_waiting(
    requests: Sequence[WaitingFacts], *, target_queue_time: float, now: float
) -> Waiting:
    """The waiting requests of a group; overdue ones cannot start in time any more."""
    overdue = [r for r in requests if now - r.first_seen_at > target_queue_time]
    return Waiting(
        n=len(requests),
        load=sum(r.cost for r in requests),
        n_overdue=len(overdue),
        overdue_load=sum(r.cost for r in overdue),
        oldest_at=min((r.first_seen_at for r in requests), default=None),
    )


def mark_traffic(workers: Iterable[Worker], waiting: Waiting, now: float) -> Mapping[str, object]:
    """What the next round subtracts from its own counters; plain JSON."""
    return {
        "at": now,
        "waiting": [waiting.n, waiting.load],
        "workers": {str(worker.instance_id): list(_counters(worker)) for worker in workers},
    }


def measure_traffic(
    mark: Mapping[str, object],
    workers: Sequence[Worker],
    waiting: Waiting,
    requests: Sequence[WaitingFacts],
    now: float,
) -> Traffic:
    """What happened since the mark.

    A worker that the mark does not know began at zero if it was created later; otherwise its past
    is unknown and counts for nothing.
    """
    at, n_waited, waited = _as_number(mark.get("at")), 0.0, 0.0
    earlier = mark.get("waiting")
    if isinstance(earlier, list):
        n_waited, waited = _as_number(earlier[0]), _as_number(earlier[1])
    known = mark.get("workers")
    known = known if isinstance(known, Mapping) else {}
    deltas = [_delta(worker, known.get(str(worker.instance_id)), at) for worker in workers]
    n_granted, granted, repeated, late, refused = map(sum, zip(_NOTHING, *deltas, strict=True))
    grants = [worker.granted_marks[-1][0] for worker in workers if worker.granted_marks]
    polls = [request.last_polled_at for request in requests]
    return Traffic(
        elapsed_s=max(0.0, now - at) if at else 0.0,
        arrived_load=max(0.0, granted - repeated + waiting.load - waited),
        n_arrived=max(0, round(n_granted + waiting.n - n_waited)),
        n_started=round(n_granted),
        n_late=round(late),
        n_refused=round(refused),
        queue_time_s=_shortest_queue(workers, now),
        last_request_at=max([*grants, *polls], default=None),
    )


def _shortest_queue(workers: Iterable[Worker], now: float) -> float:
    ready = [queue_time_s(w, now) for w in workers if w.state is WorkerState.READY and w.perf > 0]
    return min(ready, default=0.0)


def _delta(worker: Worker, earlier: object, marked_at: float) -> Counters:
    now = _counters(worker)
    if isinstance(earlier, list | tuple):
        before = [_as_number(value) for value in earlier]
        before += now[len(before) :]  # a version before this one counted less
    else:
        before = [0.0] * len(now) if worker.created_at > marked_at > 0 else list(now)
    a, b, c, d, e = (max(0.0, new - old) for new, old in zip(now, before, strict=True))
    return a, b, c, d, e


def _counters(worker: Worker) -> Counters:
    n_late, n_refused = float(worker.n_late), float(worker.n_refused)
    return float(worker.reqnum), worker.granted_load, worker.retry_load, n_late, n_refused


def _as_number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
