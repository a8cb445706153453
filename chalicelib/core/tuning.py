"""Choosing the hot law's two numbers, utilisation u and hold W, for a target share on time."""

from __future__ import annotations

import itertools
import math

from chalicelib.core.law import Knob

# (share on time wanted, u, W in restart medians): autoscaling.md 6.8, on time first.
KNOBS = ((0.90, 1.6, 20.0), (0.95, 1.5, 18.0), (0.99, 1.3, 15.0), (0.999, 1.0, 10.0))
REFERENCE_START_S = 20.0  # restart median of the measurements above


def prior_knob(slo_target: float, start_s: float) -> Knob:
    """The knob before anything is learned: between the rows of KNOBS by nines of the target."""
    nines = -math.log10(1.0 - min(max(slo_target, 0.0), 0.9999))
    rows = [(-math.log10(1.0 - share), u, hold) for share, u, hold in KNOBS]
    if nines <= rows[0][0]:
        u, hold = rows[0][1:]
    elif nines >= rows[-1][0]:
        u, hold = rows[-1][1:]
    else:
        low, high = next((a, b) for a, b in itertools.pairwise(rows) if a[0] <= nines <= b[0])
        part = (nines - low[0]) / (high[0] - low[0])
        u = low[1] + part * (high[1] - low[1])
        hold = low[2] + part * (high[2] - low[2])
    scale = math.sqrt(max(start_s, 1.0) / REFERENCE_START_S)
    return Knob(utilisation=u, hold_s=min(max(hold * REFERENCE_START_S * scale, 30.0), 1800.0))
