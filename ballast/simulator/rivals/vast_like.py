"""A Vast-like law: predicted load over target_util. The vendor's law itself is closed.

Source: Vast's documentation and CLI defaults (target_util 0.9; more when the queue's wait passes
target_queue_time). Predicted load: the smoothed arriving load. Tuned knobs: target_util and a hold.
"""

from __future__ import annotations

import math

from ballast.simulator.rivals.pool import Observation, SlidingMax

SMOOTHING_S = 30.0
TARGET_QUEUE_S = 10.0


class VastLike:
    """Smoothed load over a target utilisation, plus the backlog when the queue is late."""

    def __init__(self, utilisation: float = 0.9, hold_s: float = 0.0) -> None:
        self.name = f"vast-like({utilisation:g},{hold_s:g})"
        self._utilisation = utilisation
        self._peak = SlidingMax(hold_s)
        self._rate = 0.0
        self._at = 0.0

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        elapsed = seen.now - self._at
        if elapsed > 0:
            keep = math.exp(-elapsed / SMOOTHING_S)
            self._rate = keep * self._rate + (1 - keep) * seen.n_arrived / elapsed
            self._at = seen.now
        demand = self._rate * seen.service_s / seen.slots / self._utilisation
        if seen.oldest_wait_s > TARGET_QUEUE_S:
            demand += seen.n_waiting * seen.service_s / seen.slots / TARGET_QUEUE_S
        return int(self._peak.add(seen.now, math.ceil(demand)))
