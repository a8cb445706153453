"""What a scaling decision remembers from round to round: plain JSON values, a few KB a group."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib.core.codec import salvage, to_plain

Moments = list[float]
"""[n, mean, sum of squared deviations] of a sample, updated by Welford's method."""


@dataclass(kw_only=True, slots=True)
class ScalingMemory:
    """A working copy of a group's memory; the decision reads it, updates it and gives it back.

    Keys of dictionaries are strings because JSON has no others: instance ids, or
    "AUTOGROUP|GPU TYPE".
    """

    at: float = 0.0  # time of the previous round
    load_rate: float = 0.0  # arriving load per second, smoothed over a minute
    vouched_rate: float = 0.0  # the same of what came to a worker: for what is remembered long
    burst_rate: float = 0.0  # the same, smoothed over seconds
    mean_load: float = 0.0  # load of a request, smoothed
    n_loads: float = 0.0  # requests that it averages
    worker_perf: float = 0.0  # perf of the group's typical worker, once one was measured
    worker_slots: float = 0.0  # requests such a worker serves at once
    mean_raw: float = 0.0  # the hot law's raw value, smoothed
    mean_occupancy: float = 0.0  # over half of a start
    square_rise: float = 0.0  # mean square of what occupancy was above that mean
    peaks: list[list[float]] = field(default_factory=list)  # [time, mean_raw], decreasing
    hour_peaks: list[list[float]] = field(default_factory=list)  # [time, hot demand], decreasing
    load_peaks: list[list[float]] = field(default_factory=list)  # the same of the arriving load
    worked_at: float = 0.0  # when a request was last served, waited or came
    requested_at: float = 0.0  # when the last request was granted or asked again
    starting: dict[str, float] = field(default_factory=dict)  # instance: start asked at
    booting: dict[str, list[float]] = field(
        default_factory=dict
    )  # instance: [load began at, slowness, its host's pace as believed then]
    booting_type: dict[str, str] = field(default_factory=dict)  # instance: type key
    failed_starts: dict[str, float] = field(default_factory=dict)  # instance: how many in a row
    rebooted: dict[str, float] = field(default_factory=dict)  # instance: when
    perf: dict[str, Moments] = field(default_factory=dict)  # type key: of log perf
    perf_lately: dict[str, list[float]] = field(default_factory=dict)  # type key: of log perf
    perf_per_dlperf: dict[str, Moments] = field(default_factory=dict)  # autogroup: of log ratio
    load_times: dict[str, Moments] = field(default_factory=dict)  # autogroup: of log seconds
    host_loads: dict[str, list[float]] = field(default_factory=dict)  # host: [n, mean log pace]
    start_times: Moments = field(default_factory=lambda: [0.0, 0.0, 0.0])  # of log seconds
    boots: dict[str, list[float]] = field(default_factory=dict)  # type key: [succeeded, failed]
    starts: list[float] = field(default_factory=lambda: [0.0, 0.0])  # [succeeded, failed]
    explored: dict[str, float] = field(default_factory=dict)  # autogroup: when testing ended
    usage: list[float] = field(default_factory=list)  # see core/scaling/memory.py
    usage_s: float = 0.0  # time that `usage` averages
    rented_at: dict[str, float] = field(default_factory=dict)  # autogroup: last rentals
    scouted_at: float = 0.0  # last look for a better machine
    compared_at: float = 0.0  # last comparison of the offers with the fleet
    caution: float = 0.0  # see core/scaling/law.py
    tuned_for: float = 0.0  # the slo_target that `caution` was learned for
    starved: float = 0.0  # 1 if the last round wanted more hot capacity than could be started
    bid_states: dict[str, float] = field(default_factory=dict)  # instance: 1 up, -1 outbid
    bid_odds: dict[str, list[float]] = field(default_factory=dict)  # see core/scaling/hazard.py
    bids_compared_at: float = 0.0  # last comparison of interruptible offers with the fleet
    request_rate: float = 0.0  # arriving requests per second, smoothed over an hour

    @staticmethod
    def from_json(raw: Mapping[str, object]) -> ScalingMemory:
        """The memory in `raw`; whatever is missing or of another shape starts anew."""
        memory = salvage(ScalingMemory, raw)
        for name, width in _WIDTHS.items():
            setattr(memory, name, _of_width(getattr(memory, name), width))
        memory.booting = {key: row for key, row in memory.booting.items() if row}
        for name, width in _SUMS.items():
            if len(getattr(memory, name)) != width:
                setattr(memory, name, [0.0] * width)
        return memory

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        plain: dict[str, object] = to_plain(self)
        return plain


_WIDTHS = {
    **dict.fromkeys(("peaks", "hour_peaks", "load_peaks", "host_loads", "boots"), 2),
    **dict.fromkeys(("perf", "perf_per_dlperf", "load_times"), 3),
    "bid_odds": 5,
}
"""Numbers in each row of a field: one of another version's width is left out."""
_SUMS = {"start_times": 3, "starts": 2}  # as the fields above say


def _of_width(
    rows: list[list[float]] | dict[str, list[float]], width: int
) -> list[list[float]] | dict[str, list[float]]:
    if isinstance(rows, dict):
        return {key: row for key, row in rows.items() if len(row) == width}
    return [row for row in rows if len(row) == width]


# How often each rank of capacity is needed: what a cheaper machine at that rank would save.
#
# `usage[k]` is the share of time, smoothed over a day, in which the hot target was above level k.
# The levels are geometric in units of a typical worker, so that the memory's size does not grow
# with the fleet's.

LEVELS = (0.0, *(0.5 * 1.25**k for k in range(44)))  # typical workers; the last is about 7,500
USAGE_WINDOW_S = 86_400.0  # scaling.md 5: smoothed over a day
LEAST_USAGE = 1e-5  # a second a day: less is never


def note_usage(memory: ScalingMemory, hot: float, elapsed_s: float) -> None:
    """Count a period in which `hot` was wanted."""
    if memory.worker_perf <= 0 or elapsed_s <= 0:
        return
    usage = memory.usage if len(memory.usage) == len(LEVELS) else [0.0] * len(LEVELS)
    # The first day averages what there is; later days fade.
    memory.usage_s = min(memory.usage_s + elapsed_s, USAGE_WINDOW_S)
    weight = min(elapsed_s / memory.usage_s, 1.0)
    reached = bisect_right(LEVELS, hot / memory.worker_perf * (1.0 - 1e-12)) if hot > 0 else 0
    shares = (
        share + weight * ((1.0 if k < reached else 0.0) - share) for k, share in enumerate(usage)
    )
    memory.usage = [share if share >= LEAST_USAGE else 0.0 for share in shares]


def forget_guesses(memory: ScalingMemory, occupancy: float) -> None:
    """What was held before a worker was measured: one worker's, or what is asked for now, at most.

    It was guessed from rates, as if all who wait were to be served within the queue target: a burst
    at second 0 was rented for long after it had been served. `occupancy`: load per second.
    """
    most = max(occupancy, memory.worker_perf)
    memory.mean_raw = min(memory.mean_raw, most)
    for peaks in (memory.peaks, memory.hour_peaks):
        peaks[:] = [[at, min(value, most)] for at, value in peaks]


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


def mean_wanted(memory: ScalingMemory) -> float:
    """The mean hot target of the day that was seen, in load per second; 0 while none was."""
    pairs = zip(memory.usage, memory.usage[1:], LEVELS, LEVELS[1:], strict=False)
    typical = sum((share + above) / 2 * (high - low) for share, above, low, high in pairs)
    return memory.worker_perf * typical


def fleet_usd_per_hour(memory: ScalingMemory, machines: Iterable[tuple[float, float]]) -> float:
    """Expected GPU cost of (price, capacity) machines used in the order of price per capacity."""
    ranked = sorted((item for item in machines if item[1] > 0), key=lambda item: item[0] / item[1])
    usd, below = 0.0, 0.0
    for price, capacity in ranked:
        usd += price * share_above(memory, below + capacity / 2)
        below += capacity
    return usd if math.isfinite(usd) else 0.0
