"""What no online law can know: the clairvoyant schedule, and the lower bound of any cost."""

from __future__ import annotations

from ballast.simulator.world.market import MarketConfig
from ballast.simulator.world.traces import Trace


def lower_bound_usd(trace: Trace, config: MarketConfig, *, since_s: float = 0.0) -> float:
    """All load served at the best list price per perf: no policy can be cheaper at list prices."""
    load = sum(load for at, load in zip(trace.times, trace.loads, strict=True) if at >= since_s)
    return load / 3600.0 * config.best_type.usd_per_perf


def clairvoyant_usd(
    trace: Trace, config: MarketConfig, *, slo_wait_s: float = 10.0, since_s: float = 0.0
) -> float:
    """CLAIR: knows all arrivals, rents only the best type, nothing fails; first fit.

    Each request goes to the first machine with a slot that can start it in time; a machine is paid
    for its busy periods and one median start before each; a gap shorter than a start is bridged.
    """
    kind = config.best_type
    slots: list[list[float]] = []
    busy: list[list[float]] = []  # per machine: [start, end] of the open period, paid seconds
    bridge = config.start_median_s
    for at, load in zip(trace.times, trace.loads, strict=True):
        machine = _first_fit(slots, at + slo_wait_s)
        if machine is None:
            slots.append([0.0] * config.slots)
            busy.append([at, at, 0.0])
            machine = len(slots) - 1
        free = slots[machine]
        index = free.index(min(free))
        start = max(at, free[index])
        free[index] = start + load * config.slots / kind.perf
        _extend(busy[machine], start, free[index], bridge, since_s)
    seconds = sum(_closed(period, bridge, since_s) for period in busy)
    return seconds / 3600.0 * kind.usd_per_hour


def _first_fit(slots: list[list[float]], latest: float) -> int | None:
    for index, free in enumerate(slots):
        if min(free) <= latest:
            return index
    return None


def _extend(period: list[float], start: float, end: float, bridge: float, since_s: float) -> None:
    if start > period[1] + bridge:
        period[2] += _paid(period, bridge, since_s)
        period[0] = start
        period[1] = end
    elif end > period[1]:
        period[1] = end


def _closed(period: list[float], bridge: float, since_s: float) -> float:
    return period[2] + _paid(period, bridge, since_s)


def _paid(period: list[float], bridge: float, since_s: float) -> float:
    if period[1] <= since_s:
        return 0.0
    return period[1] - max(period[0] - bridge, since_s)
