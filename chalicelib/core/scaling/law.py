"""The control law: from demand to wanted capacity, hot and in total (docs/internals/scaling.md).

    raw   = occupancy / u + x * rise + trend u > 1 uses the queue as a buffer; rise: how far
                                             occupancy usually climbs within half of a start;
                                             trend: what a climb beyond the usual will add
    held  = max(mean of raw over the last W) W is a delayed switch-off; the mean is an EWMA
    hot   = max(raw, held)                   up at once, down slowly, and not for a single spike
    total = max(1.15 * max(hot over 4 to 5 h), 1.25 * hot)

then the owner's floors. `u` and `W` come from the tuner (below: `knob_for`, `learn_caution`).

**Rest**: an exponential mean has no zero of its own, so what is left of demand below a share of one
request is none (`rest_load`), and after the hold without any work the memories of demand are
cleared, not faded (`_cleared`). What the pool remembers for hours keeps machines, and rents none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.core.model.schedules import scheduled_min_load
from chalicelib.core.scaling.memory import USAGE_WINDOW_S, ScalingMemory, mean_wanted
from chalicelib.core.scaling.occupancy import Demand, rest_load, slot_perf
from chalicelib.core.scaling.snapshot import GroupSnapshot, Traffic

PEAK_BUCKET_S = 5.0  # one round of a busy group
HOUR_BUCKET_S = 600.0  # chosen: 24 values for the four hours of section 3
# Longer: more storage and dearer machines; shorter: more rentals.
POOL_WINDOW_S, MAX_POOL_WINDOW_S = 4 * 3600.0, 5 * 3600.0
RISE_WINDOW_S = 2400.0  # over which the squares of rises are averaged
MAX_RISE = 1e150  # its square is finite
# scaling.md 3; decisions/0034 says what else was played.
POOL_OVER_PEAK, POOL_OVER_HOT = 1.15, 1.25
MAX_HOLD_S = 1800.0  # scaling.md 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Knob:
    """The numbers of the hot law."""

    utilisation: float  # u
    hold_s: float  # W
    smooth_s: float = 0.0  # time constant of the mean that is held
    headroom: float = 0.0  # capacity beyond what is taken, as a multiple of the usual rise
    rise_s: float = 0.0  # time constant of the mean above which occupancy is a rise
    trend: float = 0.0  # how many times a rise that is under way is expected to come again
    unseen: float = 1.0  # peaks to come over those held, while no whole day has been seen
    pool_window_s: float = POOL_WINDOW_S  # how long the pool remembers a peak


@dataclass(frozen=True, kw_only=True, slots=True)
class Targets:
    """Wanted capacity in load per second, the term that set it, and the counts that floor it."""

    hot: float
    total: float
    to_rent: float  # of `total` what is rented for: a group at rest keeps its pool, and fills none
    binding: str
    min_ready: int  # workers, whatever their capacity
    keep_loaded: int  # never destroy below this many loaded workers (cold_workers)


def set_targets(
    snapshot: GroupSnapshot, memory: ScalingMemory, demand: Demand, knob: Knob, now: float
) -> Targets:
    """Hot and total targets of a group that may run; updates the peaks in `memory`."""
    params = snapshot.group.params
    is_at_rest = _is_at_rest(snapshot, memory, demand, knob, now)
    if is_at_rest:
        demand = _cleared(memory, demand, now)
    least = rest_load(memory)
    rise = _usual_rise(memory, demand.occupancy, knob, now)
    is_new = memory.usage_s < YOUNG_WINDOW_S  # what its pool keeps still loads, and helps no burst
    trend = 0.0 if is_new else knob.trend * max(_rise_now(memory, demand.occupancy) - rise, 0.0)
    raw = demand.occupancy / knob.utilisation
    if demand.occupancy > 0:
        raw += knob.headroom * rise
    held = _held_peak(memory, raw, knob, now)
    floors = {
        "occupancy": max(raw, held),
        "min_load": _floor_load(snapshot, now) / (params.target_util or 1.0),
        "target_util": 0.0,
    }
    if params.target_util is not None:
        load = max(demand.load_rate, min(demand.occupancy, 2.0 * demand.load_rate))
        floors["target_util"] = load / params.target_util
    lasting = _lasting(demand, floors, knob.headroom * rise, knob)
    for name in ("occupancy", "target_util"):
        floors[name] = floors[name] if floors[name] >= least else 0.0
    hot = max(floors.values())
    binding = next(name for name, value in floors.items() if value == hot)
    peak = _remembered_peak(snapshot, memory, lasting, knob, now)
    if memory.usage_s < USAGE_WINDOW_S:
        peak = max(peak, min(knob.unseen * held, _largest_to_expect(memory)))
    total = _total_target(snapshot, hot, peak)
    to_rent = _total_target(snapshot, hot, 0.0) if is_at_rest else total
    if trend > 0 and raw + trend > hot:  # of what is kept: a rental comes too late for a burst
        hot, binding = max(min(raw + trend, total), hot), "occupancy"
    return Targets(
        hot=hot,
        total=total,
        to_rent=to_rent,
        binding=binding if hot > 0 else "idle",
        min_ready=_min_ready(snapshot, memory, demand, now),
        keep_loaded=params.cold_workers,
    )


def _largest_to_expect(memory: ScalingMemory) -> float:
    """Beyond so much of its mean a first day's peak is a burst; a part of a day says less of it."""
    seen = max(memory.usage_s, 1.0) / USAGE_WINDOW_S
    return MAX_PEAK_OVER_MEAN * mean_wanted(memory) / math.sqrt(seen)


def _lasting(
    demand: Demand, floors: Mapping[str, float], headroom: float, knob: Knob
) -> tuple[float, float]:
    """(occupancy's term, arriving load) as the pool remembers them for hours.

    A grant that no worker has seen may stay unused: it counts at once, and is remembered once it
    came to a worker.
    """
    occupancy = floors["occupancy"]
    if demand.lasting_occupancy is not None:
        occupancy = demand.lasting_occupancy / knob.utilisation + headroom
    rate = demand.load_rate if demand.lasting_rate is None else demand.lasting_rate
    return occupancy, max(rate, min(demand.occupancy, 2.0 * rate))


def _is_at_rest(
    snapshot: GroupSnapshot, memory: ScalingMemory, demand: Demand, knob: Knob, now: float
) -> bool:
    """Whether nothing came for the hold; notes when something last did.

    An owner's `inactivity_timeout` above zero ends the hold no later than that after the last
    request.
    """
    if demand.has_work or snapshot.traffic.n_arrived > 0:
        memory.worked_at = now
    last = snapshot.traffic.last_request_at
    if last is not None:
        memory.requested_at = max(memory.requested_at, min(last, now))
    if demand.has_work:
        return False
    timeout = snapshot.group.params.inactivity_timeout
    is_held = now - memory.worked_at <= knob.hold_s
    if timeout is not None and timeout > 0:
        is_held = is_held and now - memory.requested_at < timeout
    return not is_held


def _cleared(memory: ScalingMemory, demand: Demand, now: float) -> Demand:
    """Demand as it counts at rest: none, in any memory of it."""
    memory.mean_raw, memory.peaks = 0.0, []
    memory.mean_occupancy = 0.0
    memory.load_rate = memory.burst_rate = memory.vouched_rate = 0.0
    if now - memory.worked_at > RISE_WINDOW_S:
        memory.square_rise = 0.0
    return Demand(
        occupancy=0.0,
        serving=0.0,
        load_rate=0.0,
        has_work=False,
        knows_slots=demand.knows_slots,
    )


def _floor_load(snapshot: GroupSnapshot, now: float) -> float:
    """The owner's min_load, or what a schedule asks for now."""
    return max(snapshot.group.params.min_load, scheduled_min_load(snapshot.group.schedules, now))


def zero_targets(snapshot: GroupSnapshot, *, keeps_cold: bool) -> Targets:
    """Targets of a group that must not run; its loaded workers are kept cold or returned."""
    keep = len(snapshot.workers) if keeps_cold else 0
    return Targets(
        hot=0.0, total=0.0, to_rent=0.0, binding="group_state", min_ready=0, keep_loaded=keep
    )


def slide_peak(
    peaks: list[list[float]], value: float, now: float, *, window_s: float, bucket_s: float
) -> list[list[float]]:
    """A decreasing queue of [time, value] whose head is the maximum of the window.

    The monotonic queue of sliding-window maxima, on buckets so that it stays small: a value
    replaces every smaller one before it; what left the window goes.
    """
    at = math.floor(now / bucket_s) * bucket_s
    kept = [item for item in peaks if now - window_s - bucket_s < item[0] <= at]
    while kept and kept[-1][1] <= value:
        kept.pop()
    if not kept or kept[-1][0] < at:
        kept.append([at, value])
    return kept


def _kept_share(memory: ScalingMemory, now: float, over_s: float) -> float:
    """What an exponential mean over so many seconds keeps of its value since the last round."""
    elapsed = max(now - memory.at, 0.0) if memory.at else math.inf
    return math.exp(-elapsed / over_s) if over_s > 0 else 0.0


def _usual_rise(memory: ScalingMemory, occupancy: float, knob: Knob, now: float) -> float:
    """How far occupancy usually is above its recent mean: what headroom is for.

    The root of twice the mean square of the rises: of a symmetric process, the deviation.
    """
    keep = _kept_share(memory, now, knob.rise_s)
    memory.mean_occupancy = keep * memory.mean_occupancy + (1.0 - keep) * occupancy
    rise = min(max(occupancy - memory.mean_occupancy, 0.0), MAX_RISE)
    keep = _kept_share(memory, now, RISE_WINDOW_S)
    memory.square_rise = keep * memory.square_rise + (1.0 - keep) * rise * rise
    return math.sqrt(2.0 * memory.square_rise)


def _rise_now(memory: ScalingMemory, occupancy: float) -> float:
    """How far occupancy is above its recent mean now; one request more is no rise."""
    return max(occupancy - memory.mean_occupancy - slot_perf(memory), 0.0)


def _held_peak(memory: ScalingMemory, raw: float, knob: Knob, now: float) -> float:
    """The largest mean of `raw` in the hold: a spike shorter than the mean is not held."""
    keep = _kept_share(memory, now, knob.smooth_s)
    memory.mean_raw = keep * memory.mean_raw + (1.0 - keep) * raw
    memory.peaks = slide_peak(
        memory.peaks, memory.mean_raw, now, window_s=MAX_HOLD_S, bucket_s=PEAK_BUCKET_S
    )
    return max(value for at, value in memory.peaks if at > now - knob.hold_s - PEAK_BUCKET_S)


def _remembered_peak(
    snapshot: GroupSnapshot,
    memory: ScalingMemory,
    lasting: tuple[float, float],
    knob: Knob,
    now: float,
) -> float:
    """The pool remembers what demand asked for, never a floor: a withdrawn floor is gone."""
    params = snapshot.group.params
    least = rest_load(memory)
    occupancy, load = (value if value >= least else 0.0 for value in lasting)
    memory.hour_peaks, peak = _pool_peak(memory.hour_peaks, occupancy, knob, now)
    load = load if params.target_util is not None else 0.0
    memory.load_peaks, load_peak = _pool_peak(memory.load_peaks, load, knob, now)
    if params.target_util is not None:
        peak = max(peak, load_peak / params.target_util)
    return peak


def _total_target(snapshot: GroupSnapshot, hot: float, peak: float) -> float:
    params = snapshot.group.params
    wanted = max(POOL_OVER_PEAK * peak, POOL_OVER_HOT * hot)
    return max(wanted, hot * (params.cold_mult or 0.0), params.min_cold_load or 0.0)


def _pool_peak(
    peaks: list[list[float]], value: float, knob: Knob, now: float
) -> tuple[list[list[float]], float]:
    peaks = slide_peak(peaks, value, now, window_s=MAX_POOL_WINDOW_S, bucket_s=HOUR_BUCKET_S)
    since = now - knob.pool_window_s - HOUR_BUCKET_S
    return peaks, max(peak for at, peak in peaks if at > since)


def _min_ready(snapshot: GroupSnapshot, memory: ScalingMemory, demand: Demand, now: float) -> int:
    """Workers to keep ready by themselves: one while there is work or the gate holds.

    `inactivity_timeout`: absent or 0 = no gate beside the hold; t > 0 = one worker until t seconds
    after the last request; negative = always one.
    """
    if demand.has_work:
        return 1
    timeout = snapshot.group.params.inactivity_timeout
    if timeout is None or timeout == 0:
        return 0
    if timeout < 0:
        return 1
    return 1 if memory.requested_at > 0 and now - memory.requested_at < timeout else 0


# Choosing the hot law's two numbers, utilisation u and hold W, for a target share on time.
#
# One learned number, the caution x, stands for both (docs/internals/scaling.md):
#
# x <= 0   u = 1 + 0.65 |x| T / S   requests may wait a part of the queue target T, which is worth
#                                       the less, the longer their service time S lasts
#     x >  0   headroom x rise          as much more than is taken as occupancy usually climbs
#                                       within half of a start, times x (safety stock); and the
#                                       pool remembers its peak for up to an hour more
#              trend 6 min(x, 1)        a burst is met as it will be when what is started now is
#                                       up: its climb beyond the usual comes six times again;
#                                       not in the first hour with a measured worker; of strict
#                                       targets only what was learned beyond their prior
#     W = 9 L, mean over 3 L            L: the learned median of a start
#
# Where hardly a slot comes free within T (S > 8 T) the queue buffers nothing: a new group starts
# with safety stock, and its pool is for peaks beyond those of its first day.
#
# A late request raises x, one on time lowers it by as much as keeps the wanted ratio between them
# in balance, slowly: about half a unit in six hours (in a group's first six, in the time that it
# has been seen, an hour at least), because late requests come in bursts and chasing them costs more
# than it saves. Beyond x = 4 steps grow with x. Late requests of a starved fleet count a quarter:
# more caution would not have helped those, but strict targets need what else can be had.

WAIT_SHARE = 0.65  # of the queue target that requests may wait on average at caution -1
CAUTION_LOW, CAUTION_HIGH = -2.0, 12.0  # scaling.md 2
UNSCALED_CAUTION = 4.0  # up to here steps do not depend on the caution
PRIOR_AT_95, PRIOR_PER_NINE = -1.0, 0.62  # where the targets of 95, 99, 99.9 % settle in tests
GAIN, GAIN_WINDOW_S = 0.5, 6 * 3600.0  # scaling.md 2
YOUNG_WINDOW_S = 3600.0  # of a new group, whose prior is a guess; it grows with what was seen
YOUNG_CAUTION = 1.0  # and rises so fast up to here: a cold start's lateness says little of later
LEAST_REQUEST_RATE = 1.0 / GAIN_WINDOW_S  # a rarer request is still one in that time
MAX_STEP = 0.2  # scaling.md 2
STARVED_WEIGHT = 0.25  # of late requests while more capacity could not be had (anti-windup)
BUDGET_SHARE = 0.85  # of the allowed late share that is aimed at: falling short costs trust
HOLD_STARTS, SMOOTH_STARTS = 9.0, 3.0  # hold and mean, in medians of a start
RISE_STARTS = 0.5  # mean above which occupancy is a rise
TREND = 6.0  # three starts; decisions/0037 has what else was played
TREND_BEYOND = 0.45  # of caution beyond a strict target's prior: less is even traffic's; full at 1
BUFFERED_S = 8.0  # a service time of so many queue targets makes the queue no buffer (scaling.md 2)
STOCK_PER_NINE = 1.35  # the least caution of a new group, per nine of its target (decisions/0037)
UNSEEN_PEAK = 0.9  # beyond the held demand, of a first day's pool (decisions/0037)
MAX_PEAK_OVER_MEAN = 4.5  # of what it is for; bursts beyond it cost more disk than they are worth
MIN_HOLD_S = 30.0  # scaling.md 2


def prior_caution(slo_target: float) -> float:
    """The caution before anything is learned, by the nines of the target."""
    return PRIOR_AT_95 + PRIOR_PER_NINE * (_nines(slo_target) - 1.3)


def _nines(slo_target: float) -> float:
    return -math.log10(1.0 - min(slo_target, 0.9999))


def unbuffered(target_wait_s: float, service_s: float) -> float:
    """From 0 to 1: how little the queue buffers, since requests last so long; 0 up to 8 T."""
    return max(1.0 - BUFFERED_S * target_wait_s / service_s, 0.0) if service_s > 0 else 0.0


def raise_young_caution(memory: ScalingMemory, slo_target: float, unbuffered_share: float) -> None:
    """In its first hours a group without a buffer has safety stock before requests were late."""
    if memory.usage_s < GAIN_WINDOW_S and unbuffered_share > 0:
        least = STOCK_PER_NINE * _nines(slo_target) * unbuffered_share
        memory.caution = max(memory.caution, least)


def learn_caution(
    memory: ScalingMemory,
    traffic: Traffic,
    slo_target: float,
    *,
    is_starved: bool,
    is_buffered: bool = True,
) -> None:
    """Move the caution by the requests that began since the previous round."""
    if memory.tuned_for != slo_target:
        memory.tuned_for, memory.caution = slo_target, prior_caution(slo_target)
    n, n_late = max(traffic.n_started, 0), max(traffic.n_late, 0)
    if n < 1:
        return
    request_rate = max(memory.request_rate, LEAST_REQUEST_RATE)
    budget = (1.0 - slo_target) * BUDGET_SHARE
    window_s = min(max(memory.usage_s, YOUNG_WINDOW_S), GAIN_WINDOW_S)
    is_cold = is_buffered or memory.usage_s < YOUNG_WINDOW_S
    if n_late > budget * n and memory.caution >= YOUNG_CAUTION and is_cold:
        window_s = GAIN_WINDOW_S
    step = GAIN * (min(n_late, n) / budget - n) / (request_rate * window_s)
    if step > 0 and is_starved:
        step *= STARVED_WEIGHT
    step = min(max(step, -MAX_STEP), MAX_STEP) * max(memory.caution / UNSCALED_CAUTION, 1.0)
    memory.caution = min(max(memory.caution + step, CAUTION_LOW), CAUTION_HIGH)


def knob_for(
    caution: float,
    *,
    start_s: float,
    target_wait_s: float,
    service_s: float,
    slo_target: float = 0.99,
    unbuffered_share: float = 0.0,
) -> Knob:
    """The hot law's numbers at a caution and the group's times."""
    wait = WAIT_SHARE * max(-caution, 0.0) * target_wait_s / max(service_s, 1e-3)
    hold = min(max(start_s * HOLD_STARTS, MIN_HOLD_S), MAX_HOLD_S)
    extra_s = (MAX_POOL_WINDOW_S - POOL_WINDOW_S) * min(max(caution, 0.0), 1.0)
    calm = min(max(prior_caution(slo_target) + TREND_BEYOND, 0.0), 0.9)
    return Knob(
        utilisation=1.0 + min(wait, 1e6),
        headroom=max(caution, 0.0),
        hold_s=hold,
        smooth_s=hold * SMOOTH_STARTS / HOLD_STARTS,
        rise_s=hold * RISE_STARTS / HOLD_STARTS,
        trend=TREND * min(max((caution - calm) / (1.0 - calm), 0.0), 1.0),
        unseen=1.0 + UNSEEN_PEAK * unbuffered_share * min(max(caution, 0.0), 1.0),
        pool_window_s=POOL_WINDOW_S + extra_s,
    )
