"""Kubernetes HPA with a KEDA trigger on requests in the system.

Source: Kubernetes' documented algorithm (desired = ceil(current x metric / target) unless within
10 %; every 15 s; up at most +100 % or +4 per 15 s; down to the maximum recommendation of the last
300 s) and kedacore/keda (0 to 1 by itself, back to 0 after a cooldown of 300 s). Tuned knobs: the
target utilisation and the stabilisation window.
"""

from __future__ import annotations

import math

from ballast.simulator.rivals.pool import Observation, SlidingMax

SYNC_S, TOLERANCE, COOLDOWN_S = 15.0, 0.1, 300.0


class HpaKeda:
    """Target tracking with a stabilisation window on the way down."""

    def __init__(self, utilisation: float = 0.8, window_s: float = 300.0) -> None:
        self.name = f"hpa({utilisation:g},{window_s:g})"
        self._utilisation = utilisation
        self._peak = SlidingMax(window_s)
        self._synced_at = -SYNC_S
        self._busy_at = -COOLDOWN_S
        self._current = 0

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        if seen.in_system:
            self._busy_at = seen.now
        if self._current == 0:
            self._current = 1 if seen.in_system else 0
            return self._current
        if seen.now - self._synced_at < SYNC_S:
            return self._current
        self._synced_at = seen.now
        per_machine = seen.slots * self._utilisation
        ratio = seen.in_system / (self._current * per_machine)
        raw = self._current if abs(ratio - 1) <= TOLERANCE else math.ceil(self._current * ratio)
        held = int(self._peak.add(seen.now, raw))
        if raw > self._current:
            self._current = min(raw, max(2 * self._current, self._current + 4))
        else:
            self._current = min(self._current, max(held, 1))
            if seen.now - self._busy_at >= COOLDOWN_S:
                self._current = 0
        return self._current
