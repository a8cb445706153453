"""Worker rows as DynamoDB items: only what differs from the defaults, so a row stays below 1 kB."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from chalicelib.core.autogroup import TicketGeneration
from chalicelib.core.worker import AfterDrain, Worker, WorkerState

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

COUNTED = ("reqnum", "granted_load", "retry_load", "n_late", "n_refused")
"""Written by reservations alone, by addition; always stored."""

_ENUMS = {"state": WorkerState, "after_drain": AfterDrain, "ticket": TicketGeneration}
_DEFAULTS = {f.name: f.default for f in fields(Worker) if f.default is not MISSING}
_INTEGERS = frozenset(f.name for f in fields(Worker) if f.type == "int")
_MARKS = "granted_marks"
_CERTIFICATE = "certificate_sha256"


def is_default(name: str, value: object) -> bool:
    """Whether a field needs no attribute."""
    return name not in COUNTED and name != "state" and value == _DEFAULTS.get(name, MISSING)


def to_attribute(name: str, value: Any) -> AttributeValueTypeDef:
    """A field's value in DynamoDB's form."""
    if name == _MARKS:
        return {"B": b"".join(struct.pack("<dd", *mark) for mark in value)}
    if name == _CERTIFICATE:
        return {"B": bytes.fromhex(value)}
    if isinstance(value, str):
        return {"S": str(value)}
    if isinstance(value, bool):
        return {"BOOL": value}
    return {"N": number_text(value)}


def number_text(value: float) -> str:
    """A number as DynamoDB takes it, exact: times are compared with the marks' own copies."""
    return repr(value)


def to_item(worker: Worker) -> dict[str, AttributeValueTypeDef]:
    """A whole row."""
    return {
        f.name: to_attribute(f.name, value)
        for f in fields(Worker)
        if not is_default(f.name, value := getattr(worker, f.name))
    }


def from_item(item: Mapping[str, AttributeValueTypeDef]) -> Worker:
    """The row in an item; attributes of another version are left out."""
    values: dict[str, Any] = {}
    for name, attribute in item.items():
        if name in _FIELD_NAMES:
            values[name] = _from_attribute(name, attribute)
    return Worker(**values)


_FIELD_NAMES = frozenset(f.name for f in fields(Worker))


def _from_attribute(name: str, attribute: Mapping[str, Any]) -> Any:
    if name == _MARKS:
        return tuple(struct.iter_unpack("<dd", bytes(attribute["B"])))
    if name == _CERTIFICATE:
        return bytes(attribute["B"]).hex()
    if name in _ENUMS:
        return _ENUMS[name](attribute["S"])
    if "N" not in attribute:
        return attribute["BOOL"] if "BOOL" in attribute else attribute["S"]
    return int(attribute["N"]) if name in _INTEGERS else float(attribute["N"])
