"""SkyServe: request rate over a per-replica target, and its instance-aware variant.

Source: skypilot-org/skypilot sky/serve/autoscalers.py and constants.py: QPS over 60 s; decisions
every 20 s (5 s from zero), counted: up after 300 s, down after 1200 s in the same direction.
InstanceAware sums a target QPS per GPU (here: measured perf over mean request) and keeps the
shortest prefix of the fastest replicas that covers the QPS. Tuned knob: the two delays.
"""

from __future__ import annotations

import math
from collections import deque

from ballast.simulator.rivals.pool import Observation

QPS_WINDOW_S, DECISION_S = 60.0, 20.0


class SkyServeRate:
    """Requests per second over what a replica is said to serve."""

    def __init__(
        self, up_s: float = 300.0, down_s: float = 1200.0, *, is_instance_aware: bool = False
    ) -> None:
        kind = "sky-aware" if is_instance_aware else "sky-rate"
        self.name = f"{kind}({up_s:g},{down_s:g})"
        self._up_s, self._down_s = up_s, down_s
        self._is_aware = is_instance_aware
        self._arrivals: deque[tuple[float, int]] = deque()
        self._count = 0
        self._decided_at = -DECISION_S
        self._current = 0
        self._direction, self._since = 0, 0.0

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        qps = self._rate(seen)
        if self._current == 0:
            self._current = 1 if qps > 0 else 0
            return self._current
        if seen.now - self._decided_at < DECISION_S:
            return self._current
        self._decided_at = seen.now
        desired = self._covering(qps, seen) if self._is_aware else self._by_rate(qps, seen)
        direction = (desired > self._current) - (desired < self._current)
        if direction != self._direction:
            self._direction, self._since = direction, seen.now
        waited = seen.now - self._since
        if (direction > 0 and waited >= self._up_s) or (direction < 0 and waited >= self._down_s):
            self._current = desired
            self._direction = 0
        return self._current

    def _rate(self, seen: Observation) -> float:
        self._arrivals.append((seen.now, seen.n_arrived))
        self._count += seen.n_arrived
        while self._arrivals[0][0] <= seen.now - QPS_WINDOW_S:
            self._count -= self._arrivals.popleft()[1]
        return self._count / QPS_WINDOW_S

    def _by_rate(self, qps: float, seen: Observation) -> int:
        return math.ceil(qps * seen.service_s / seen.slots)

    def _covering(self, qps: float, seen: Observation) -> int:
        """The shortest prefix of the fastest replicas; beyond them, reference machines."""
        per_perf = seen.slots / seen.service_s
        covered = 0.0
        for index, perf in enumerate(sorted(seen.perfs, reverse=True)):
            if covered >= qps:
                return max(index, 1)
            covered += perf * per_perf
        missing = max(qps - covered, 0.0)
        fastest = max(seen.perfs, default=1.0)
        return len(seen.perfs) + math.ceil(missing / (fastest * per_perf))
