"""Knative KPA: stable and panic windows of concurrency.

Source: knative/serving, pkg/autoscaler/scaling/autoscaler.go and the autoscaler's config map.
Every 2 s: desired = ceil(mean concurrency / target) over a stable (60 s) and a
panic window (6 s), clamped to [ready / max-scale-down, ready x max-scale-up]; panic begins when the
panic figure reaches 200 % of ready capacity, never scales down, and ends after 60 s without breach.
Defaults: target 70 % of a container's concurrency, up 1000 x, down 2 x.
Tuned knob: the target share.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from ballast.simulator.rivals.pool import Observation


@dataclass(slots=True)
class WindowMean:
    """Mean of the values of the last `window_s` seconds."""

    window_s: float
    _items: deque[tuple[float, float]] = field(default_factory=deque)
    _sum: float = 0.0

    def add(self, at: float, value: float) -> float:
        """Add a value; gives the mean."""
        self._items.append((at, value))
        self._sum += value
        while self._items[0][0] <= at - self.window_s:
            self._sum -= self._items.popleft()[1]
        return self._sum / len(self._items)


class KnativeKpa:
    """The Knative pod autoscaler."""

    def __init__(
        self,
        target_share: float = 0.7,
        *,
        stable_s: float = 60.0,
        panic_s: float = 6.0,
        panic_threshold: float = 2.0,
    ) -> None:
        self.name = f"knative({target_share:g})"
        self._target_share = target_share
        self._stable_s = stable_s
        self._threshold = panic_threshold
        self._stable, self._panic = WindowMean(stable_s), WindowMean(panic_s)
        self._panic_since: float | None = None
        self._panic_peak = 0

    def wanted(self, seen: Observation) -> int:
        """Machines wanted hot."""
        target = seen.slots * self._target_share
        ready = max(seen.n_ready, 1)
        low, high = seen.n_ready // 2, ready * 1000
        stable = math.ceil(self._stable.add(seen.now, seen.in_system) / target)
        panic = math.ceil(self._panic.add(seen.now, seen.in_system) / target)
        stable, panic = min(max(stable, low), high), min(max(panic, low), high)
        if panic / ready >= self._threshold:
            self._panic_since = seen.now
        elif self._panic_since is not None and seen.now - self._panic_since >= self._stable_s:
            self._panic_since, self._panic_peak = None, 0
        if self._panic_since is None:
            return stable
        self._panic_peak = max(self._panic_peak, stable, panic)
        return self._panic_peak
