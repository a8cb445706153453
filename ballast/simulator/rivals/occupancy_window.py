"""The rival to beat: the maximum over W seconds of ceil(requests in the system / (slots x u)).

Source: the project's study (scaling.md 11); u above 1 uses the queue as a cheap buffer.
"""

from __future__ import annotations

import math

from ballast.simulator.rivals.pool import Observation, SlidingMax


class OccupancyWindow:
    """Occupancy over u, held for W seconds."""

    def __init__(self, utilisation: float = 1.0, hold_s: float = 300.0) -> None:
        self.name = f"window({utilisation:g},{hold_s:g})"
        self._utilisation = utilisation
        self._peak = SlidingMax(hold_s)

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        raw = math.ceil(seen.in_system / (seen.slots * self._utilisation))
        return int(self._peak.add(seen.now, raw))
