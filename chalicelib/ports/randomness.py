"""Chance: tokens that nobody can guess, and dice."""

from typing import Protocol


class Randomness(Protocol):
    """Draws tokens and numbers."""

    def token(self, n_bytes: int) -> str:
        """`n_bytes` unguessable bytes as lower-case hex."""
        ...

    def uniform(self) -> float:
        """A number in [0, 1)."""
        ...
