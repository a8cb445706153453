"""Stored moments, clamped to what they can mean: a clock that was wrong once holds up nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CLOCK_SLIP_S = 300.0
"""Moments that are stored may be ahead of this clock by so much: beyond, that clock was wrong."""

_LONGEST_S = 40 * 86_400.0
"""Nothing that is stored lies further ahead of the clock that wrote it (the log keeps 35 days)."""


def is_ahead(at: float, now: float) -> bool:
    """Whether a moment that must have passed lies in the future."""
    return at > now + CLOCK_SLIP_S


def passed(at: float, now: float) -> float:
    """A moment that must have passed; now, if the clock that wrote it was wrong."""
    return now if is_ahead(at, now) else at


def rebased(value: Any, wrote_at: float, now: float) -> Any:
    """A plain JSON value that a clock wrote at `wrote_at`, as if it had been right.

    What had passed for it has passed; what lay ahead of it lies as far ahead of now. Only numbers
    between now and a little after that clock can be meant.
    """
    if isinstance(value, Mapping):
        return {key: rebased(inner, wrote_at, now) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rebased(inner, wrote_at, now) for inner in value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not now < value <= wrote_at + _LONGEST_S:
        return value
    return now + max(value - wrote_at, 0.0)
