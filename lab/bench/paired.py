"""Paired timing: blocks of the thing and of its limit in turn, so that noise hits both alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Medians over blocks, in seconds of CPU per call; `ratio` is the median of the pairs'."""

    limit_s: float
    ours_s: float
    ratio: float


def cpu_s(call: Callable[[], object], n: int) -> float:
    """CPU seconds per call over a block of n."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    for _ in range(n):
        call()
    ended = time.process_time()
    gc.enable()
    return (ended - began) / n


def compare(
    limit: Callable[[], object], ours: Callable[[], object], *, n_blocks: int, n_calls: int
) -> PairedResult:
    """Run both in turn, after one unmeasured block of each."""
    cpu_s(limit, n_calls), cpu_s(ours, n_calls)
    pairs = [(cpu_s(limit, n_calls), cpu_s(ours, n_calls)) for _ in range(n_blocks)]
    return PairedResult(
        limit_s=median(a for a, _ in pairs),
        ours_s=median(b for _, b in pairs),
        ratio=median(b / a for a, b in pairs),
    )
