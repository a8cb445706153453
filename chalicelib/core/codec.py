"""Dataclasses as plain values (those of JSON) and back: the one codec of what Ballast stores.

Fields go by their names and are read by their annotations, so that what is stored in another shape
is refused, or in `salvage` starts anew field by field. A field that this version does not know is
left out, unless the class has one named `unknown`: there it is kept, and written again beside the
others. `is_foreign` tells of a reading that failed, and is never stored.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Item = TypeVar("Item")
Reader = Callable[[Any], Any]

UNKNOWN = "unknown"
_FLOAT = frozenset({float})
_OF_READING = frozenset({UNKNOWN, "is_foreign"})


class CodecError(ValueError):
    """A stored value is not of the shape that its field has."""


def to_json(value: object) -> str:
    """A dataclass, or plain values that hold some, as JSON; equal values give equal texts."""
    return json.dumps(value, default=to_plain, sort_keys=True, separators=(",", ":"))


def to_plain(value: Any) -> Any:
    """What JSON does not know by itself: a dataclass by its fields, a set as a sorted list."""
    if isinstance(value, Set):
        return sorted(value)
    if not is_dataclass(value):
        return dict(value)  # some other mapping
    own = {s.name: getattr(value, s.name) for s in fields(value) if s.name not in _OF_READING}
    return {**getattr(value, UNKNOWN, {}), **own}


def from_plain(kind: type[Item], raw: object) -> Item:
    """The dataclass that was stored as these values.

    Raises:
        CodecError: a field is missing, or of another shape; the message names it.
    """
    hint: Any = kind
    found: Item = _reader(hint)(raw)
    return found


def salvage(kind: type[Item], raw: object) -> Item:
    """The dataclass, with the default for each field that is missing or of another shape."""
    if not isinstance(raw, Mapping):
        return kind()
    found, _ = readable(kind, raw)
    return kind(**found, **_beside(kind, raw))


def readable(kind: type, raw: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """(the fields that can be read, the names of those that are of another shape)."""
    found: dict[str, Any] = {}
    unreadable = set()
    for name, read in _readers(kind).items():
        if name in raw:
            try:
                found[name] = read(raw[name])
            except CodecError:
                unreadable.add(name)
    return found, frozenset(unreadable)


def names_of(kind: type) -> frozenset[str]:
    """The fields that this version knows."""
    return frozenset(_readers(kind))


def _beside(kind: type, raw: Mapping[str, Any]) -> dict[str, Any]:
    if not _keeps_unknown(kind):
        return {}
    readers = _readers(kind)
    return {UNKNOWN: {name: value for name, value in raw.items() if name not in readers}}


@cache
def _keeps_unknown(kind: type) -> bool:
    return UNKNOWN in {spec.name for spec in _specs(kind)}


@cache
def _specs(kind: Any) -> tuple[Field[Any], ...]:
    return fields(kind)


@cache
def _readers(kind: type) -> Mapping[str, Reader]:
    hints = get_type_hints(kind)
    return {s.name: _reader(hints[s.name]) for s in _specs(kind) if s.name not in _OF_READING}


@cache
def _reader(hint: Any) -> Reader:
    """How a value of this type is read from its plain form."""
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if is_dataclass(hint):
        return _dataclass_reader(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum_reader(hint)
    return _generic_reader(hint, get_origin(hint), get_args(hint))


def _generic_reader(hint: Any, origin: Any, parts: tuple[Any, ...]) -> Reader:
    if origin in (Union, types.UnionType):
        return _union_reader([_reader(part) for part in parts])
    if not isinstance(origin, type):
        raise TypeError(f"codec: no reader for {hint}")
    if issubclass(origin, Mapping):
        return _mapping_reader(_whole_key if parts[0] is int else _text, _reader(parts[1]))
    if issubclass(origin, tuple) and parts[1:] != (...,):
        return _fixed_reader([_reader(part) for part in parts])
    if issubclass(origin, Sequence | Set):
        return _sequence_reader(origin, _reader(parts[0]))
    raise TypeError(f"codec: no reader for {hint}")


def _dataclass_reader(kind: Any) -> Reader:
    required = {
        s.name for s in _specs(kind) if s.default is MISSING and s.default_factory is MISSING
    }

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise CodecError(f"{kind.__name__}: {value!r} has no fields")
        found: dict[str, Any] = {}
        for name, read_field in _readers(kind).items():  # looked up late: types may be recursive
            if name in value:
                try:
                    found[name] = read_field(value[name])
                except CodecError as error:
                    raise CodecError(f"{name}: {error}") from error
        if missing := required - found.keys():
            raise CodecError(f"{kind.__name__}: {min(missing)} is missing")
        try:
            return kind(**found, **_beside(kind, value))
        except ValueError as error:  # beyond the bounds of this version: a later one has others
            raise CodecError(str(error)) from error

    return read


def _enum_reader(kind: type[Enum]) -> Reader:
    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError as error:
            raise CodecError(str(error)) from error

    return read


def _union_reader(readers: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        for one in readers:
            try:
                return one(value)
            except CodecError:
                continue
        raise CodecError(f"{value!r} is none of its types")

    return read


def _mapping_reader(read_key: Reader, read_value: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise CodecError(f"{value!r} is no mapping")
        if read_value is _float and read_key is _text and _are_floats(value.values()):
            return {_text(key): item for key, item in value.items()}
        return {read_key(key): read_value(item) for key, item in value.items()}

    return read


def _sequence_reader(origin: type, read_item: Reader) -> Reader:
    build: Callable[[Collection[Any]], Any] = tuple
    if origin is list:
        build = list
    elif issubclass(origin, Set):
        build = frozenset

    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple | Set):
            raise CodecError(f"{value!r} is no list")
        if read_item is _float and _are_floats(value):
            return build(value)
        return build([read_item(item) for item in value])

    return read


def _fixed_reader(readers: Sequence[Reader]) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(readers):
            raise CodecError(f"{value!r} does not have {len(readers)} items")
        return tuple(one(item) for one, item in zip(readers, value, strict=True))

    return read


def _are_floats(values: Collection[Any]) -> bool:
    """Whether all are finite floats as they are: most of what is stored, and read at once."""
    return set(map(type, values)) <= _FLOAT and all(map(isfinite, values))


def _float(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isfinite(value):
        return float(value)
    raise CodecError(f"{value!r} is no number")


def _int(value: Any) -> int:
    number = _float(value)
    if isinstance(value, int):
        return int(value)
    if number.is_integer():
        return int(number)
    raise CodecError(f"{value!r} is no whole number")


def _whole_key(value: Any) -> int:
    try:
        return int(value)  # JSON has no other keys than texts
    except (TypeError, ValueError) as error:
        raise CodecError(f"{value!r} is no whole number") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CodecError(f"{value!r} is no text")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CodecError(f"{value!r} is no flag")
    return value


def _none(value: Any) -> None:
    if value is not None:
        raise CodecError(f"{value!r} is not nothing")


def _as_it_is(value: Any) -> Any:
    return value


_SIMPLE: Mapping[Any, Reader] = {
    bool: _bool, int: _int, float: _float, str: _text, type(None): _none, None: _none,
    Any: _as_it_is, object: _as_it_is,
}  # fmt: skip
