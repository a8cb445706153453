"""The demo's requests: a slice of a real trace, and the smallest fixed fleet that would do as well.

The fixed fleet serves the same requests, first come first served, on N workers that are ready all
the time; a request waits until one of their slots is free.
"""

from __future__ import annotations

import csv
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLICE = Path(__file__).parents[1] / "data" / "azure_code_slice.csv"
SLICE_S = 270.0  # it ends with a calm, so later than its last request
PREFILL_SHARE = 0.05  # reading a prompt token takes about this much of writing one
MAX_FIXED_FLEET = 50


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """A request at `at_s` seconds from the start that brings `load` tokens."""

    at_s: float
    load: int


def read_trace(
    path: Path = SLICE, *, speed: float = 1.0, keep_every: int = 1, seconds: float = math.inf
) -> list[TraceRequest]:
    """The trace, `speed` times as fast, every `keep_every`-th request, cut after `seconds`."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))[::keep_every]
    requests = [
        TraceRequest(
            at_s=float(row["t_s"]) / speed,
            load=max(
                1, round(int(row["output_tokens"]) + PREFILL_SHARE * int(row["prompt_tokens"]))
            ),
        )
        for row in rows
    ]
    return [request for request in requests if request.at_s < seconds]


@dataclass(frozen=True, slots=True)
class FleetWorker:
    """One worker of a fixed fleet: `perf` tokens per second over `n_slots` requests at once."""

    perf: float
    n_slots: int


def fixed_fleet_waits(
    requests: Sequence[TraceRequest], worker: FleetWorker, n_workers: int
) -> list[float]:
    """Seconds that each request waits for a slot."""
    slot_perf = worker.perf / worker.n_slots
    free_at = [0.0] * (n_workers * worker.n_slots)
    waits = []
    for request in requests:
        starts_at = max(request.at_s, free_at[0])
        heapq.heapreplace(free_at, starts_at + request.load / slot_perf)
        waits.append(starts_at - request.at_s)
    return waits


def smallest_fixed_fleet(
    requests: Sequence[TraceRequest], worker: FleetWorker, p95_wait_s: float
) -> int:
    """How many workers keep the 95th percentile of waits at or below `p95_wait_s`."""
    for n_workers in range(1, MAX_FIXED_FLEET):
        if percentile(fixed_fleet_waits(requests, worker, n_workers), 0.95) <= p95_wait_s:
            return n_workers
    return MAX_FIXED_FLEET


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which this share of the values lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
