"""A clock that stands still until it is told to move; waiting moves it."""

from __future__ import annotations

import random
from collections.abc import Callable


class ManualClock:
    """Implements `ports.clock.Clock` in virtual time. `slept_s` is all that was waited.

    `meanwhile`, if set, is what goes on while somebody sleeps so many seconds; it must advance.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self.slept_s = 0.0
        self.meanwhile: Callable[[float], None] | None = None

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """The same: this clock never goes back."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let the time pass at once."""
        self.slept_s += max(0.0, seconds)
        (self.meanwhile or self.advance)(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Move on.

        Raises:
            ValueError: backwards.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot go back by {-seconds} s")
        self._now += seconds


# Chance that repeats itself.


class FakeRandomness:
    """Implements `ports.randomness.Randomness` from a seed."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = random.Random(seed)

    def token(self, n_bytes: int) -> str:
        """`n_bytes` bytes as lower-case hex."""
        return self._rng.randbytes(n_bytes).hex()

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return self._rng.random()
