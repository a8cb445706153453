"""A fixed fleet of N machines: what one pays without an autoscaler."""

from __future__ import annotations

from ballast.simulator.rivals.pool import Observation


class StaticFleet:
    """Always N."""

    def __init__(self, n: int = 16) -> None:
        self.name = f"static({n})"
        self._n = n

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        del seen
        return self._n
