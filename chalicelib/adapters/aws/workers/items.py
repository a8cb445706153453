"""Worker rows as DynamoDB items: only what differs from the defaults, so a row stays below 1 kB."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.clients import number_text
from chalicelib.adapters.aws.workers.placing import group_and_shard
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

COUNTED = ("reqnum", "granted_load", "retry_load", "n_late", "n_refused")
"""Written by reservations alone, by addition; always stored."""

_ENUMS = {"state": WorkerState, "after_drain": AfterDrain, "ticket": TicketGeneration}
_DEFAULTS = {f.name: f.default for f in fields(Worker) if f.default is not MISSING}
_INTEGERS = frozenset(f.name for f in fields(Worker) if f.type == "int")
_TEXTS = frozenset(f.name for f in fields(Worker) if f.type == "str")
_FLAGS = frozenset(f.name for f in fields(Worker) if f.type == "bool")
_FIRST_MARK, _MARK, _USE = struct.Struct("<dd"), struct.Struct("<fd"), struct.Struct("<HBHH")
_CACHE, _PAIR = struct.Struct("<HBB"), struct.Struct("<ff")
_TICKS_PER_S = 1024.0


def _pack_marks(marks: Sequence[tuple[float, float]]) -> bytes:
    """(time, load) of the first, then seconds since it, never rounded up, and the load."""
    if not marks:
        return b""
    (first, _), *later = marks
    since = [(math.floor((at - first) * _TICKS_PER_S) / _TICKS_PER_S, load) for at, load in later]
    return _FIRST_MARK.pack(*marks[0]) + b"".join(_MARK.pack(*mark) for mark in since)


def _unpack_marks(raw: bytes) -> tuple[tuple[float, float], ...]:
    if not raw:
        return ()
    first, load = _FIRST_MARK.unpack_from(raw)
    later = _MARK.iter_unpack(raw[_FIRST_MARK.size :])
    return ((first, load), *((first + since, granted) for since, granted in later))


def _pack_uses(uses: Sequence[tuple[int, int, float, float]]) -> bytes:
    """Key, number, mean and percentile, these as logarithms: 0.03 % exact."""
    return b"".join(_USE.pack(key, n, _log(mean), _log(high)) for key, n, mean, high in uses)


def _unpack_uses(raw: bytes) -> tuple[tuple[int, int, float, float], ...]:
    return tuple((key, n, _exp(mean), _exp(high)) for key, n, mean, high in _USE.iter_unpack(raw))


def _pack_cache(use: CacheUse) -> bytes:
    """Tokens as a logarithm, shares to half a percent."""
    return _CACHE.pack(
        _log(use.prompt_tokens), round(use.hit_share * 255), round(use.spared_share * 255)
    )


def _unpack_cache(raw: bytes) -> CacheUse:
    tokens, hit, spared = _CACHE.unpack(raw)
    return CacheUse(_exp(tokens), hit / 255, spared / 255)


_LOG_STEPS, _LEAST_LOG = 1300, -20.0  # steps of a doubling; below 2**-20 all is nothing


def _log(value: float) -> int:
    if value <= 0:
        return 0
    return min(max(round((math.log2(value) - _LEAST_LOG) * _LOG_STEPS), 0), 0xFFFF)


def _exp(code: int) -> float:
    return 2.0 ** (code / _LOG_STEPS + _LEAST_LOG) if code else 0.0


_BINARY: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], object]]] = {
    "granted_marks": (_pack_marks, _unpack_marks),
    "uses": (_pack_uses, _unpack_uses),
    "cache": (_pack_cache, _unpack_cache),
    "unused": (lambda pair: _PAIR.pack(*pair), _PAIR.unpack),
    "certificate_sha256": (bytes.fromhex, bytes.hex),
}
"""How fields of many numbers are packed and unpacked."""

_STORED_AS = {"granted_marks": "marks"}
"""Fields whose packing has changed: bytes of another form have another name, for a version that
took them for its own would guess, or hold the row to be FOREIGN and leave its machine running."""
_FORMER_MARKS = "granted_marks"


def stored_as(name: str) -> str:
    """The attribute that holds a field."""
    return _STORED_AS.get(name, name)


def is_default(name: str, value: object) -> bool:
    """Whether a field needs no attribute."""
    return name not in COUNTED and name != "state" and value == _DEFAULTS.get(name, MISSING)


def to_attribute(name: str, value: Any) -> AttributeValueTypeDef:
    """A field's value in DynamoDB's form."""
    if name in _BINARY:
        return {"B": _BINARY[name][0](value)}
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"N": number_text(value)}


def to_item(worker: Worker) -> dict[str, AttributeValueTypeDef]:
    """A whole row."""
    return {
        stored_as(f.name): to_attribute(f.name, value)
        for f in fields(Worker)
        if not is_default(f.name, value := getattr(worker, f.name))
    }


def from_item(item: Mapping[str, AttributeValueTypeDef]) -> Worker:
    """The row in an item; attributes of another version are left out.

    A row that this version cannot read whole (a state without a meaning, a field of another type)
    is FOREIGN: it counts at its worst, and nobody here changes it.
    """
    values: dict[str, Any] = {"autogroup_id": 0, "created_at": 0.0}
    is_foreign = "autogroup_id" not in item
    for attribute_name, attribute in item.items():
        name = _FIELDS.get(attribute_name)
        if name is None:
            continue
        try:
            values[name] = _from_attribute(name, attribute)
        except (KeyError, TypeError, ValueError, struct.error):
            is_foreign = True
    values["endpoint_id"], _ = group_and_shard(values["endpoint_id"])
    if _FORMER_MARKS in item and "granted_marks" not in values:
        # Until its next report: what was granted counts as seen long ago, or it would seem full.
        mark = (values["created_at"], values.get("granted_load", 0.0))
        values["granted_marks"] = (mark,)
    return replace(Worker(**values), state=WorkerState.FOREIGN) if is_foreign else Worker(**values)


_FIELDS = {stored_as(f.name): f.name for f in fields(Worker)}


def _from_attribute(name: str, attribute: Mapping[str, Any]) -> Any:
    if name in _BINARY:
        return _BINARY[name][1](bytes(attribute["B"]))
    if name in _ENUMS:
        return _ENUMS[name](attribute["S"])
    if name in _TEXTS:
        return attribute["S"]
    if name in _FLAGS:
        return attribute["BOOL"]
    return int(attribute["N"]) if name in _INTEGERS else float(attribute["N"])
