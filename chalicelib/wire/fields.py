"""Fields of a JSON object: of the type that they should have, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from chalicelib.wire.errors import WireError

MAX_TEXT = 8192
_WRITTEN_NUMBER = re.compile(
    r"[+-]?([0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?"
)

Body = Mapping[str, object]


def text(name: str, value: object, *, max_length: int = MAX_TEXT) -> str:
    """A text that is not too long.

    Raises:
        WireError: anything else.
    """
    if not isinstance(value, str):
        raise WireError(f"{name}: {str(value)[:80]!r} is not a text")
    if len(value) > max_length:
        raise WireError(f"{name}: longer than {max_length} characters")
    return value


def number(name: str, value: object) -> float | int:
    """A number.

    Raises:
        WireError: anything else, also true and false.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise WireError(f"{name}: {str(value)[:80]!r} is not a number")
    return value


def number_of_text(name: str, written: str) -> float:
    """A number written as text in ASCII digits; infinite if it is too large.

    Raises:
        WireError: anything else, also what Python reads: nan, 1_0, digits of other scripts.
    """
    bare = written.strip(" ")
    if not _WRITTEN_NUMBER.fullmatch(bare):
        raise WireError(f"{name}: {written[:50]!r} is not a number")
    return float(bare)


def whole(name: str, value: object) -> int:
    """A whole number; JavaScript peers write 5 as 5.0.

    Raises:
        WireError: anything else.
    """
    given = number(name, value)
    if given != int(given):
        raise WireError(f"{name}: {given!r} is not a whole number")
    return int(given)


def optional_text(body: Body, name: str) -> str | None:
    """A text, or None when null or absent."""
    value = body.get(name)
    return None if value is None else text(name, value)


def optional_number(body: Body, name: str) -> float | int | None:
    """A number, or None when null or absent."""
    value = body.get(name)
    return None if value is None else number(name, value)


def optional_whole(body: Body, name: str) -> int | None:
    """A whole number, or None when null or absent."""
    value = body.get(name)
    return None if value is None else whole(name, value)


def optional_flag(body: Body, name: str) -> bool | None:
    """True or false, or None when null or absent.

    Raises:
        WireError: anything else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise WireError(f"{name}: {str(value)[:80]!r} is neither true nor false")
    return value
