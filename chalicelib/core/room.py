"""Room: how much of what waits may be bound now, by load or by free slots."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from chalicelib.core.admission import (
    AdmissionParams,
    Queued,
    is_overdue,
    turn_at,
    typical_cost_of,
)


def room_load(workers: Iterable[tuple[float, float]], *, bind_s: float, horizon_s: float) -> float:
    """Load that may be bound within `horizon_s` to workers given as (perf, pending load)."""
    return sum(max(0.0, perf * (bind_s + horizon_s) - pending) for perf, pending in workers)


def load_of_first(
    waiting: Sequence[Queued], n: float, params: AdmissionParams, now: float
) -> float:
    """The load of the first `n` in turn: what so many slots take, a request each, large or small.

    Slots beyond those who wait count as one of typical cost each.
    """
    typical = typical_cost_of(waiting, params)
    keys = (
        (is_overdue(r.first_seen_at, now, params), turn_at(r, typical, params), r.cost)
        for r in waiting
    )
    costs = [cost for _, _, cost in sorted(keys)]
    n_whole = min(math.floor(n), len(costs))
    next_cost = costs[n_whole] if n_whole < len(costs) else typical
    return sum(costs[:n_whole]) + (n - n_whole) * next_cost
