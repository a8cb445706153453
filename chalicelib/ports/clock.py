"""The clock, and waiting: the only ways time enters a service."""

from typing import Protocol


class Clock(Protocol):
    """Reads the time and waits."""

    def now(self) -> float:
        """Seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for measuring durations."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


# Chance: tokens that nobody can guess, and dice.


class Randomness(Protocol):
    """Draws tokens and numbers."""

    def token(self, n_bytes: int) -> str:
        """`n_bytes` unguessable bytes as lower-case hex."""
        ...

    def uniform(self) -> float:
        """A number in [0, 1)."""
        ...
