"""Chance that repeats itself."""

from __future__ import annotations

import random


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
