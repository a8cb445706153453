"""RunPod Serverless: queue delay, and request count.

Source: runpod/docs endpoint-configurations. Queue delay: one more worker while a request has waited
over 4 s; a worker without work for the idle timeout (5 s) goes. Request count:
ceil((queue + in progress) / scalerValue), idle timeout 5 s; scalerValue defaults to 4, here a
machine's slots times 0.5. The text is public, the code is not.
Tuned knobs: delay or value, timeout.
"""

from __future__ import annotations

import math

from ballast.simulator.rivals.pool import Observation, SlidingMax


class RunPodDelay:
    """Add a worker while the queue's delay is over a limit; idle ones go after a timeout."""

    def __init__(self, delay_s: float = 4.0, idle_s: float = 5.0) -> None:
        self.name = f"runpod-delay({delay_s:g},{idle_s:g})"
        self._delay_s = delay_s
        self._needed = SlidingMax(idle_s)
        self._current = 0

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        busy = int(self._needed.add(seen.now, math.ceil(seen.in_system / seen.slots)))
        if seen.oldest_wait_s > self._delay_s or (seen.in_system and not self._current):
            self._current = max(self._current, seen.n_ready + seen.n_pending) + 1
        else:
            self._current = min(self._current, busy)
        return self._current


class RunPodCount:
    """Requests in the system over a value per worker."""

    def __init__(self, value_share: float = 0.5, idle_s: float = 5.0) -> None:
        self.name = f"runpod-count({value_share:g},{idle_s:g})"
        self._value_share = value_share
        self._needed = SlidingMax(idle_s)

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        raw = math.ceil(seen.in_system / max(seen.slots * self._value_share, 1.0))
        return int(self._needed.add(seen.now, raw))
