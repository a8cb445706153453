"""Choosing the hot law's two numbers, utilisation u and hold W, for a target share on time.

One learned number, the caution x, stands for both (docs/scaling.md):

    x <= 0   u = 1 + 0.65 |x| T / S   requests may wait a part of the queue target T, which is worth
                                      the less, the longer their service time S lasts
    x >  0   headroom x rise          as much more than is taken as occupancy usually climbs
                                      within half of a start, times x (safety stock); and the
                                      pool remembers its peak for up to an hour more
    W = 9 L, mean over 3 L            L: the learned median of a start

A late request raises x, one on time lowers it by as much as keeps the wanted ratio between them in
balance, slowly: about half a unit in six hours, because late requests come in bursts and chasing
them costs more than it saves. Beyond x = 4 steps grow with x. Late requests while the fleet could
not do better count a quarter: more caution would not have helped those, but strict targets need
what else can be had.
"""

from __future__ import annotations

import math

from chalicelib.core.law import MAX_HOLD_S, MAX_POOL_WINDOW_S, POOL_WINDOW_S, Knob
from chalicelib.core.scaling_memory import ScalingMemory
from chalicelib.core.snapshot import Traffic

WAIT_SHARE = 0.65  # of the queue target that requests may wait on average at caution -1
CAUTION_LOW, CAUTION_HIGH = -2.0, 12.0
UNSCALED_CAUTION = 4.0  # up to here steps do not depend on the caution
PRIOR_AT_95, PRIOR_PER_NINE = -1.0, 0.62  # where the targets of 95, 99, 99.9 % settle in tests
GAIN, GAIN_WINDOW_S = 0.5, 6 * 3600.0
MAX_STEP = 0.2
STARVED_WEIGHT = 0.25  # of late requests while more capacity could not be had (anti-windup)
BUDGET_SHARE = 0.85  # of the allowed late share that is aimed at: falling short costs trust
HOLD_STARTS, SMOOTH_STARTS = 9.0, 3.0  # hold and mean, in medians of a start
RISE_STARTS = 0.5  # mean above which occupancy is a rise
MIN_HOLD_S = 30.0


def prior_caution(slo_target: float) -> float:
    """The caution before anything is learned, by the nines of the target."""
    nines = -math.log10(1.0 - min(slo_target, 0.9999))
    return PRIOR_AT_95 + PRIOR_PER_NINE * (nines - 1.3)


def learn_caution(
    memory: ScalingMemory, traffic: Traffic, slo_target: float, *, is_starved: bool
) -> None:
    """Move the caution by the requests that began since the previous round."""
    if memory.tuned_for != slo_target:
        memory.tuned_for, memory.caution = slo_target, prior_caution(slo_target)
    n, n_late = max(traffic.n_started, 0), max(traffic.n_late, 0)
    if n < 1 or memory.request_rate <= 0:
        return
    budget = (1.0 - slo_target) * BUDGET_SHARE
    step = GAIN * (min(n_late, n) / budget - n) / (memory.request_rate * GAIN_WINDOW_S)
    if step > 0 and is_starved:
        step *= STARVED_WEIGHT
    step = min(max(step, -MAX_STEP), MAX_STEP) * max(memory.caution / UNSCALED_CAUTION, 1.0)
    memory.caution = min(max(memory.caution + step, CAUTION_LOW), CAUTION_HIGH)


def knob_for(caution: float, *, start_s: float, target_wait_s: float, service_s: float) -> Knob:
    """The hot law's numbers at a caution and the group's times."""
    wait = WAIT_SHARE * max(-caution, 0.0) * target_wait_s / max(service_s, 1e-3)
    hold = min(max(start_s * HOLD_STARTS, MIN_HOLD_S), MAX_HOLD_S)
    extra_s = (MAX_POOL_WINDOW_S - POOL_WINDOW_S) * min(max(caution, 0.0), 1.0)
    return Knob(
        utilisation=1.0 + min(wait, 1e6),
        headroom=max(caution, 0.0),
        hold_s=hold,
        smooth_s=hold * SMOOTH_STARTS / HOLD_STARTS,
        rise_s=hold * RISE_STARTS / HOLD_STARTS,
        pool_window_s=POOL_WINDOW_S + extra_s,
    )
