"""A rival's cost at equal attainment: read off the line through its best knob points."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
"""Share of requests on time, cost."""

LEAST_LATE = 1e-5


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both, by attainment."""
    best: list[Point] = []
    for share, cost in sorted(points, key=lambda p: (-p[0], p[1])):
        if not best or cost < best[-1][1]:
            best.append((share, cost))
    return best[::-1]


def cost_at(points: Sequence[Point], share: float) -> float | None:
    """Cost at an attainment, interpolated in the logarithm of the late share.

    Below the line but not below all points its cheapest one counts, which is on time more often.
    None outside of the points: neither a bargain nor a miss is made up from there.
    """
    line = frontier(points)
    if not line or not min(points)[0] <= share <= line[-1][0]:
        return None
    if share <= line[0][0]:
        return line[0][1]
    upper = next(i for i, point in enumerate(line) if point[0] >= share)
    (low, low_cost), (high, high_cost) = line[upper - 1], line[upper]
    part = (_nines(share) - _nines(low)) / (_nines(high) - _nines(low))
    return low_cost + part * (high_cost - low_cost)


def _nines(share: float) -> float:
    return -math.log(max(1.0 - share, LEAST_LATE))
