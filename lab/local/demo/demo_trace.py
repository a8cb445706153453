"""The demo's requests: a slice of a real trace."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLICE = Path(__file__).parents[1] / "data" / "azure_code_slice.csv"
SLICE_S = 270.0  # it ends with a calm, so later than its last request
PREFILL_SHARE = 0.05  # reading a prompt token takes about this much of writing one


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


def percentile(values: Sequence[float], share: float) -> float:
    """The value below or at which this share of the values lies; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
