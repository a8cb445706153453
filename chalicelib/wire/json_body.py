"""JSON request bodies, strictly: an object, names once, finite numbers, bounded size and depth."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from itertools import chain
from typing import Any, NoReturn

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 16
PAYLOAD_DEPTH = 200
"""Of what a model server is to get. Readers, rules and writers of JSON call themselves for each
level, some twice, and Python ends that at a thousand calls."""
LIGHT_BYTES, LIGHT_ELEMENTS = 2**20, 20_000
"""Up to these a body is parsed in a few milliseconds, so on an event loop."""
MAX_ELEMENTS = 2_000_000
"""Of what a model server is to get: proxy and worker refuse more."""
MAX_DIGITS = 308
"""Of a whole number for it: with one more it may be none that a float holds, and costs are such."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_MAX_INT_DIGITS = 18  # beyond it neither DynamoDB's clients nor ours agree on the value


def parse_json_object(
    raw: bytes | str | None, *, max_bytes: int = MAX_BODY_BYTES, tolerant: bool = False
) -> dict[str, object]:
    """The object in a body, whatever its content type says; an empty body is an empty object.

    `tolerant` is for peers that repeat what strangers wrote, whose whole message must not be lost
    by it: Python's NaN and Infinity and numbers that are too large are read as floats that are not
    finite, half a surrogate pair becomes "?", and what is nested too deep null.

    Raises:
        WireError: too big, not UTF-8, not JSON, a name twice, NaN or Infinity, too deep, or not an
            object.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw or b""
    if len(data) > max_bytes:
        raise WireError(f"body: {len(data)} bytes; allowed: {max_bytes}")
    if not data.strip():
        return {}
    try:
        value = (_TOLERANT if tolerant else _DECODER).decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise WireError("body: not UTF-8 text") from error
    except _TooLargeError as error:
        named = re.search(rf'"([^"\\]{{1,64}})"\s*:\s*{re.escape(error.text)}', data.decode())
        where = named.group(1) if named else "body"
        raise WireError(f"{where}: the number {error.text[:40]} is too large") from error
    except json.JSONDecodeError as error:
        raise WireError(f"body: not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise WireError(f"body: nested deeper than {MAX_DEPTH}") from error
    if not isinstance(value, dict):
        raise WireError(f"body: must be a JSON object, not a {type(value).__name__}")
    try:
        _check_values(value, MAX_DEPTH)
    except WireError:
        if not tolerant:
            raise
        value = {_tamed(name, 1): _tamed(held, MAX_DEPTH - 1) for name, held in value.items()}
    return value


def parse_payload(body: bytes) -> dict[str, object]:
    """The JSON object that a model server is to get, as the proxy and its worker both read it.

    Raises:
        WireError: not JSON, not an object, a number that JSON cannot carry on, or nested deeper
            than PAYLOAD_DEPTH.
    """
    try:
        value = _PAYLOADS.decode(body.decode(json.detect_encoding(body), "surrogatepass"))
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"the body is not JSON: {error}"[:200]) from error
    if not isinstance(value, dict):
        raise WireError("the body must be a JSON object")
    # Each level has a bracket of its own: few bodies have so many that it must be looked at.
    n_brackets = body.count(b"{") + body.count(b"[")
    if n_brackets > PAYLOAD_DEPTH and is_deeper(value, PAYLOAD_DEPTH):
        raise WireError(f"the body is nested deeper than {PAYLOAD_DEPTH}")
    return value


def n_elements(body: bytes) -> int:
    """At least as many values as the JSON in it has: a bound, at the speed of memory."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def is_deeper(value: object, limit: int) -> bool:
    """Whether lists and objects lie in one another more than `limit` times."""
    level = [value]
    for _ in range(limit):
        held = [part for part in level if isinstance(part, list | dict)]
        level = [
            child for part in held for child in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return any(isinstance(part, list | dict) for part in level)


def check_names(
    where: str, body: Mapping[str, object], known: Collection[str], also: Collection[str] = ()
) -> None:
    """Refuse a field that is neither among `known` nor, without a word of it, among `also`.

    Raises:
        WireError: with the field, and the nearest that there is.
    """
    for name in body:
        if name not in known and name not in also:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise WireError(f"{where}{name[:80]!r} is no field; {hint}")


def _refuse_constant(text: str) -> NoReturn:
    raise WireError(f"body: {text} is not a number that JSON has; send a finite number")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _TooLargeError(text)
    return value


def _bounded_int(text: str) -> int:
    if len(text) > _MAX_INT_DIGITS:
        raise _TooLargeError(text)
    return int(text)


def _countable_int(text: str) -> int:
    """Long ones take the square of their digits: 1 MB of them took 0.2 s of an event loop."""
    if len(text) > MAX_DIGITS:
        raise _TooLargeError(text)
    return int(text)


def _object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Readers differ in which of two equal names they believe (RFC 8259, 4), so none may come."""
    value = dict(pairs)
    if len(value) < len(pairs):
        times = Counter(name for name, _ in pairs)  # once over: strangers send thousands of names
        twice = times.most_common(1)[0][0]
        raise WireError(f"body: {twice[:80]!r} is there twice")
    return value


# Made once: json.loads makes a decoder for every call that names a hook.
_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_of,
    parse_constant=_refuse_constant,
    parse_float=_finite_float,
    parse_int=_bounded_int,
)

_PAYLOADS = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite_float, parse_int=_countable_int
)

_TOLERANT = json.JSONDecoder(
    object_pairs_hook=_object_of,
    parse_int=lambda text: int(text) if len(text) <= _MAX_INT_DIGITS else math.inf,
)


def _check_values(held: dict[str, object] | list[object], depth_left: int) -> None:
    if depth_left == 0:
        raise WireError(f"body: nested deeper than {MAX_DEPTH}")
    for value in chain(held, held.values()) if isinstance(held, dict) else held:
        if isinstance(value, str):
            if not value.isascii() and _HALF_PAIR.search(value):
                raise WireError("body: a string holds half of a surrogate pair")
        elif isinstance(value, (dict, list)):
            _check_values(value, depth_left - 1)


def _tamed(value: Any, depth_left: int) -> Any:
    """The same, with "?" for half a pair, and null for what is nested too deep."""
    if isinstance(value, str):
        return _HALF_PAIR.sub("?", value)
    if not isinstance(value, list | dict):
        return value
    if depth_left == 0:
        return None
    if isinstance(value, list):
        return [_tamed(part, depth_left - 1) for part in value]
    return {_tamed(name, 1): _tamed(part, depth_left - 1) for name, part in value.items()}


# The one shape of every error body, and the error of messages that cannot be understood.


class WireError(ValueError):
    """A message is malformed; the text names the bad value and the fix."""


class _TooLargeError(WireError):
    """A number beyond what is stored, as it was written."""

    def __init__(self, text: str) -> None:
        super().__init__(f"body: the number {text[:40]} is too large")
        self.text = text


def error_body(code: str, message: str) -> dict[str, object]:
    """The error object under every key that some peer reads (protocol.md A.4, E)."""
    return {"success": False, "error": code, "msg": message, "error_msg": message}


# Fields of a JSON object: of the type that they should have, or refused by name.

MAX_TEXT = 8192
MAX_WHOLE = 2**53  # beyond it JSON's numbers are not exact (RFC 8259, 6), nor JavaScript's
_WRITTEN_WHOLE = re.compile(r"-?[0-9]{1,17}")
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


def number(
    name: str, value: object, *, low: float = -math.inf, high: float = math.inf
) -> float | int:
    """A number within bounds.

    Raises:
        WireError: anything else, also true, false and NaN.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise WireError(f"{name}: {str(value)[:80]!r} is not a number{_bounds(low, high)}")
    return value


def number_of_text(
    name: str, written: str, *, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number within bounds, written as text in ASCII digits.

    Raises:
        WireError: anything else, with the text as it came; also what Python reads: nan, 1_0, digits
            of other scripts.
    """
    bare = written.strip(" ")
    value = float(bare) if _WRITTEN_NUMBER.fullmatch(bare) else math.nan
    if not math.isfinite(value) or not low <= value <= high:
        raise WireError(f"{name}: {written[:50]!r} is not a number{_bounds(low, high)}")
    return value


def whole(name: str, value: object, *, low: int = -MAX_WHOLE, high: int = MAX_WHOLE) -> int:
    """A whole number within bounds; JavaScript peers write 5 as 5.0.

    Raises:
        WireError: anything else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise WireError(f"{name}: {str(value)[:80]!r} is not a whole number{_bounds(low, high)}")
    return value


def whole_of_text(name: str, value: object, *, low: int = 0, high: int = MAX_WHOLE) -> int:
    """A whole number within bounds, also written as text in ASCII digits.

    Raises:
        WireError: anything else.
    """
    is_written = isinstance(value, str) and _WRITTEN_WHOLE.fullmatch(value)
    return whole(name, int(str(value)) if is_written else value, low=low, high=high)


def _bounds(low: float, high: float) -> str:
    if high >= MAX_WHOLE:
        return f" from {low:g}" if low > -MAX_WHOLE else ""
    return f" from {low:g} to {high:g}"


def optional_text(body: Body, name: str) -> str | None:
    """A text, or None when null or absent."""
    value = body.get(name)
    return None if value is None else text(name, value)


def optional_number(
    body: Body, name: str, *, low: float = -math.inf, high: float = math.inf
) -> float | int | None:
    """A number within bounds, or None when null or absent."""
    value = body.get(name)
    return None if value is None else number(name, value, low=low, high=high)


def optional_whole(
    body: Body, name: str, *, low: int = -MAX_WHOLE, high: int = MAX_WHOLE
) -> int | None:
    """A whole number within bounds, or None when null or absent."""
    value = body.get(name)
    return None if value is None else whole(name, value, low=low, high=high)


def optional_flag(body: Body, name: str) -> bool | None:
    """True or false, or None when null or absent.

    Raises:
        WireError: anything else.
    """
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise WireError(f"{name}: {str(value)[:80]!r} is neither true nor false")
    return value
