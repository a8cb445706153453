"""Which callers' keys were granted how much lately, as one router sees it.

A key's requests come to all routers alike, so the grants of one router show the proportions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from chalicelib.core.model.load import LEAST_REQUESTS, WAITING_ENDS_S

USE_SPAN_S = WAITING_ENDS_S  # as long as a waiting row counts
FORGOTTEN_S = 60.0
"""What was granted fades within the one; a key that did not ask for the other is forgotten."""

MAX_KEYS = 10_000  # chosen: bounds the memory of a router
_FADE_EVERY_S = 1.0  # a view is no older


@dataclass(slots=True)
class KeyUse:
    """One key: its weight, when it asked last, and the load it was granted, fading."""

    weight: float
    asked_at: float
    load: float = 0.0


@dataclass(slots=True)
class RecentUse:
    """The keys that asked lately; `load`, `weight` and `n_grants` are of all of them."""

    by_key: dict[str, KeyUse] = field(default_factory=dict)
    load: float = 0.0
    weight: float = 0.0
    n_grants: float = 0.0
    faded_at: float = 0.0

    def asked(self, key_id: str, weight: float, now: float) -> None:
        """A request arrived under this key; call it before the others for that request."""
        if now - self.faded_at >= _FADE_EVERY_S:
            self._fade(now)
        use = self.by_key.get(key_id)
        if use is not None:
            use.asked_at = now
            return
        if len(self.by_key) >= MAX_KEYS:
            self.by_key.clear()
            self.load = self.weight = self.n_grants = 0.0
        self.by_key[key_id] = KeyUse(weight, now)
        self.weight += weight

    def granted(self, key_id: str, cost: float) -> None:
        """The request was granted."""
        use = self.by_key.get(key_id)  # another thread's request may have made it forgotten
        if use is not None:
            use.load += cost
        self.load += cost
        self.n_grants += 1

    def times_its_share(self, key_id: str) -> float:
        """What the key was granted as a multiple of its weighted share; a key alone has 1."""
        use = self.by_key.get(key_id)
        if use is None or self.load <= 0 or len(self.by_key) == 1:
            return 1.0
        return (use.load / self.load) / (use.weight / self.weight)

    @property
    def mean_cost(self) -> float:
        """Of a request granted lately; 0 if none was."""
        return self.load / self.n_grants if self.n_grants > 0 else 0.0

    def _fade(self, now: float) -> None:
        kept = math.exp(-(now - self.faded_at) / USE_SPAN_S)
        if self.n_grants * kept < LEAST_REQUESTS:
            kept = 0.0
        uses = list(self.by_key.items())
        self.by_key = {k: u for k, u in uses if now - u.asked_at < FORGOTTEN_S}
        for use in self.by_key.values():
            use.load *= kept
        self.load = sum(use.load for use in self.by_key.values())
        self.weight = sum(use.weight for use in self.by_key.values())
        self.n_grants *= kept
        self.faded_at = now
