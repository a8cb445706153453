"""Chance from the operating system."""

from __future__ import annotations

import secrets

_RESOLUTION = 1 << 53


class SystemRandomness:
    """Implements `ports.randomness.Randomness`."""

    def token(self, n_bytes: int) -> str:
        """`n_bytes` unguessable bytes as lower-case hex."""
        return secrets.token_hex(n_bytes)

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return secrets.randbelow(_RESOLUTION) / _RESOLUTION
