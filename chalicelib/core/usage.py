"""How often each rank of capacity is needed: what a cheaper machine at that rank would save.

`usage[k]` is the share of time, smoothed over a day, in which the hot target was above level k. The
levels are geometric in units of a typical worker, so that the memory's size does not grow with the
fleet's.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from chalicelib.core.scaling_memory import ScalingMemory

LEVELS = (0.0, *(0.5 * 1.25**k for k in range(44)))  # typical workers; the last is about 7,500
USAGE_WINDOW_S = 86_400.0


def note_usage(memory: ScalingMemory, hot: float, elapsed_s: float) -> None:
    """Count a period in which `hot` was wanted."""
    if memory.worker_perf <= 0 or elapsed_s <= 0:
        return
    usage = memory.usage if len(memory.usage) == len(LEVELS) else [0.0] * len(LEVELS)
    # The first day averages what there is; later days fade.
    memory.usage_s = min(memory.usage_s + elapsed_s, USAGE_WINDOW_S)
    weight = min(elapsed_s / memory.usage_s, 1.0)
    reached = bisect_right(LEVELS, hot / memory.worker_perf * (1.0 - 1e-12)) if hot > 0 else 0
    memory.usage = [
        share + weight * ((1.0 if k < reached else 0.0) - share) for k, share in enumerate(usage)
    ]


def share_above(memory: ScalingMemory, capacity: float) -> float:
    """Share of time in which more than `capacity` was wanted; linear between the levels."""
    if memory.worker_perf <= 0 or len(memory.usage) != len(LEVELS):
        return 0.0
    level = capacity / memory.worker_perf
    above = bisect_right(LEVELS, level)
    if above >= len(LEVELS):
        return memory.usage[-1]
    low, high = LEVELS[above - 1], LEVELS[above]
    part = (level - low) / (high - low)
    return memory.usage[above - 1] + part * (memory.usage[above] - memory.usage[above - 1])


def fleet_usd_per_hour(memory: ScalingMemory, machines: Iterable[tuple[float, float]]) -> float:
    """Expected GPU cost of (price, capacity) machines used in the order of price per capacity."""
    ranked = sorted((item for item in machines if item[1] > 0), key=lambda item: item[0] / item[1])
    usd, below = 0.0, 0.0
    for price, capacity in ranked:
        usd += price * share_above(memory, below + capacity / 2)
        below += capacity
    return usd if math.isfinite(usd) else 0.0
