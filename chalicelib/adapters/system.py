"""The real clock."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    """Implements `ports.clock.Clock`."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait; not at all for a moment that has passed."""
        time.sleep(max(0.0, seconds))


# Chance from the operating system.

_RESOLUTION = 1 << 53


class SystemRandomness:
    """Implements `ports.randomness.Randomness`."""

    def token(self, n_bytes: int) -> str:
        """`n_bytes` unguessable bytes as lower-case hex."""
        return secrets.token_hex(n_bytes)

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return secrets.randbelow(_RESOLUTION) / _RESOLUTION
