"""Ray Serve: ongoing requests over a target, acted on after a delay in the same direction.

Source: ray-project/ray serve/autoscaling_policy.py: desired = total ongoing / target_ongoing;
upscale_delay 30 s, downscale_delay 600 s, look_back 30 s, factor 1; 0 to 1 at once. The default of
2 ongoing of at most 5 is taken as a share, 0.4 of a machine's slots. Tuned knob: that share.
"""

from __future__ import annotations

import math

from ballast.simulator.rivals.knative import WindowMean
from ballast.simulator.rivals.pool import Observation


class RayServe:
    """Ray Serve's replica autoscaler."""

    def __init__(
        self, target_share: float = 0.4, *, up_s: float = 30.0, down_s: float = 600.0
    ) -> None:
        self.name = f"ray({target_share:g},{down_s:g})"
        self._target_share = target_share
        self._up_s, self._down_s = up_s, down_s
        self._mean = WindowMean(30.0)
        self._current = 0
        self._direction = 0
        self._since = 0.0

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        ongoing = self._mean.add(seen.now, seen.in_system)
        desired = math.ceil(ongoing / (seen.slots * self._target_share))
        if self._current == 0:
            self._current = 1 if seen.in_system else 0
            return self._current
        direction = (desired > self._current) - (desired < self._current)
        if direction != self._direction:
            self._direction, self._since = direction, seen.now
        waited = seen.now - self._since
        if (direction > 0 and waited >= self._up_s) or (direction < 0 and waited >= self._down_s):
            self._current = desired
            self._direction = 0
        return self._current
