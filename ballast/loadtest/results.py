"""What became of each request, and the summary of a run. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum


class State(StrEnum):
    """Where a request is."""

    WAITING = "waiting"  # for a worker
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  # by Ctrl-C


@dataclass(slots=True)
class Outcome:
    """One request. `*_s` are durations; `started_at_s` counts from the run's start."""

    started_at_s: float
    state: State = State.WAITING
    worker_url: str = ""
    error: str = ""  # its class, empty when there was none
    n_routes: int = 0
    n_workers_tried: int = 0
    n_bytes: int = 0
    route_s: float = 0.0
    wait_s: float = 0.0
    first_token_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles in seconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """A whole run."""

    n_requests: int
    elapsed_s: float
    requests_per_minute: float  # those that were answered
    by_state: dict[str, int]
    errors: dict[str, int]
    n_unique_workers: int
    requests_by_worker: dict[str, int]
    n_route_calls: int
    n_retried: int
    latency_s: dict[str, Percentiles] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """The summary as JSON values."""
        return asdict(self)


def summarise(outcomes: Sequence[Outcome], elapsed_s: float) -> Summary:
    """The figures of a run; percentiles are over the requests that were answered."""
    done = [outcome for outcome in outcomes if outcome.state is State.DONE]
    by_worker = Counter(o.worker_url for o in done)
    latency = {
        name: percentiles([getattr(o, f"{name}_s") for o in done])
        for name in ("route", "wait", "first_token", "total")
        if done
    }
    return Summary(
        n_requests=len(outcomes),
        elapsed_s=elapsed_s,
        requests_per_minute=60 * len(done) / elapsed_s if elapsed_s > 0 else 0.0,
        by_state=dict(sorted(Counter(o.state.value for o in outcomes).items())),
        errors=dict(Counter(o.error for o in outcomes if o.error).most_common()),
        n_unique_workers=len(by_worker),
        requests_by_worker=dict(by_worker.most_common()),
        n_route_calls=sum(o.n_routes for o in outcomes),
        n_retried=sum(o.n_workers_tried > 1 for o in outcomes),
        latency_s=latency,
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Nearest-rank percentiles of at least one value."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]

    return Percentiles(rank(0.50), rank(0.95), rank(0.99))


def as_text(summary: Summary) -> str:
    """The summary for a terminal."""
    lines = [
        f"{summary.n_requests} requests in {summary.elapsed_s:.1f} s: "
        + ", ".join(f"{n} {state}" for state, n in summary.by_state.items()),
        f"total {summary.by_state.get(State.DONE, 0)} answered "
        f"({summary.requests_per_minute:.1f}/minute) by {summary.n_unique_workers} workers, "
        f"{summary.n_route_calls} route calls, {summary.n_retried} tried on several workers",
    ]
    lines += [f"  error {name}: {n}" for name, n in summary.errors.items()]
    lines += [
        f"  {name.replace('_', ' '):12} p50 {p.p50:7.3f}   p95 {p.p95:7.3f}   p99 {p.p99:7.3f} s"
        for name, p in summary.latency_s.items()
    ]
    return "\n".join(lines)
