"""Numbers of Vast's answers: JSON's, and of a size that our books can hold."""

from __future__ import annotations

import math

from chalicelib.wire.json_body import MAX_WHOLE


def finite(value: object) -> float | None:
    """A finite number, or None for a truth value, a text, null, NaN, and what no float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def written(value: object) -> float | None:
    """A finite number, also one in a text, or None."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return finite(value)


def whole(value: object, least: int = 0) -> int | None:
    """A whole number from `least` to 2^53, or None."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if least <= value <= MAX_WHOLE else None
