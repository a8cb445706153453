"""Worker rows in DynamoDB. Every write is partial, and one round trip."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef
from collections.abc import Sequence

from botocore.exceptions import ClientError

from chalicelib.adapters.aws.clients import error_code, number_text, storage_errors
from chalicelib.adapters.aws.tables import WORKERS
from chalicelib.ports.errors import NotFoundError
from chalicelib.ports.worker_repository import Grant, Refusal, Reservation

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef


_NO_BOUND = "1E+120"
_CHECK_FAILED = "ConditionalCheckFailedException"


class DynamoWorkerRepository:
    """Implements `ports.worker_repository.WorkerRepository`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = WORKERS.full_name(prefix)

    def reserve(self, endpoint_id: int, instance_id: int, grant: Grant) -> Reservation | Refusal:
        """One conditional UpdateItem; a refusal returns the row as it is."""
        cost = number_text(grant.cost)
        bound = _NO_BOUND if grant.bound == float("inf") else number_text(grant.bound)
        with storage_errors():
            try:
                reply = self._client.update_item(
                    TableName=self._table,
                    Key=_key(endpoint_id, instance_id),
                    UpdateExpression=(
                        "ADD reqnum :one, granted_load :cost, retry_load :retry,"
                        " n_late :late, n_refused :refused"
                    ),
                    ConditionExpression="#state = :ready AND granted_load <= :bound",
                    ExpressionAttributeNames={"#state": "state"},
                    ExpressionAttributeValues={
                        ":one": {"N": "1"},
                        ":cost": {"N": cost},
                        ":retry": {"N": cost if grant.is_retry else "0"},
                        ":late": {"N": "1" if grant.is_late else "0"},
                        ":refused": {"N": str(grant.n_refused)},
                        ":ready": {"S": WorkerState.READY.value},
                        ":bound": {"N": bound},
                    },
                    # The updated ones are a seventh of the row, and take a quarter of the time to
                    # read (docs/internals/performance.md). They need not hold what ADD 0 left as it
                    # was: moto leaves it out.
                    ReturnValues="UPDATED_NEW" if grant.cost > 0 else "ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except ClientError as error:
                if error_code(error) != _CHECK_FAILED:
                    raise
                item = error.response.get("Item")
                return Refusal(from_item(item) if item else None)  # type: ignore[arg-type]
        new = reply["Attributes"]
        return Reservation(
            reqnum=int(new["reqnum"]["N"]), granted_load=float(new["granted_load"]["N"])
        )

    def find(self, endpoint_id: int, instance_id: int) -> Worker | None:
        """One row, strongly consistent."""
        with storage_errors():
            reply = self._client.get_item(
                TableName=self._table,
                Key=_key(endpoint_id, instance_id),
                ConsistentRead=True,
            )
        item = reply.get("Item")
        return from_item(item) if item else None

    def list(self, endpoint_id: int) -> Sequence[Worker]:
        """All rows of a group, strongly consistent, by instance id."""
        with storage_errors():
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="endpoint_id = :endpoint",
                ExpressionAttributeValues={":endpoint": {"N": str(endpoint_id)}},
                ConsistentRead=True,
            )
            return [from_item(item) for page in pages for item in page["Items"]]

    def add(self, worker: Worker) -> None:
        """A new row, unless it exists."""
        with storage_errors():
            self._client.put_item(
                TableName=self._table,
                Item=to_item(worker),
                ConditionExpression="attribute_not_exists(instance_id)",
            )

    def update(
        self,
        endpoint_id: int,
        instance_id: int,
        changes: Mapping[str, object],
        *,
        if_state: WorkerState | None = None,
        if_report: tuple[str, int, str] | None = None,
    ) -> Worker:
        """Set fields of an existing row under conditions, and give the new row."""
        if forbidden := [name for name in changes if name in COUNTED]:
            raise ValueError(f"{forbidden} change by reservations only")
        names, values, expression = _update_expression(changes)
        conditions = ["attribute_exists(instance_id)"]
        if if_state is not None:
            conditions.append(_equals("state", if_state.value, names, values))
        for name, value in zip(
            ("boot_id", "report_seq", "report_hash"), if_report or (), strict=False
        ):
            conditions.append(_equals(name, value, names, values))
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "Key": _key(endpoint_id, instance_id),
            "UpdateExpression": expression,
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeNames": names,
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:  # DynamoDB refuses an empty map
            arguments["ExpressionAttributeValues"] = values
        with storage_errors():
            try:
                reply = self._client.update_item(**arguments)
            except ClientError as error:
                if error_code(error) == _CHECK_FAILED and not error.response.get("Item"):
                    raise NotFoundError(f"no worker {instance_id}") from error
                raise
        return from_item(reply["Attributes"])

    def remove(self, endpoint_id: int, instance_id: int) -> None:
        """Forget a row; nothing if it is gone already."""
        with storage_errors():
            self._client.delete_item(TableName=self._table, Key=_key(endpoint_id, instance_id))


def _key(endpoint_id: int, instance_id: int) -> dict[str, AttributeValueTypeDef]:
    return {"endpoint_id": {"N": str(endpoint_id)}, "instance_id": {"N": str(instance_id)}}


def _update_expression(
    changes: Mapping[str, object],
) -> tuple[dict[str, str], dict[str, AttributeValueTypeDef], str]:
    """(names, values, expression): defaults are removed, everything else is set."""
    names = {f"#{name}": name for name in changes}
    gone = [name for name, value in changes.items() if is_default(name, value)]
    kept = [name for name in changes if name not in gone]
    values = {f":{name}": to_attribute(name, changes[name]) for name in kept}
    parts = []
    if kept:
        parts.append("SET " + ", ".join(f"#{name} = :{name}" for name in kept))
    if gone:
        parts.append("REMOVE " + ", ".join(f"#{name}" for name in gone))
    return names, values, " ".join(parts)


def _equals(
    name: str, value: object, names: dict[str, str], values: dict[str, AttributeValueTypeDef]
) -> str:
    names[f"#{name}"] = name
    if is_default(name, value):
        return f"attribute_not_exists(#{name})"
    values[f":if_{name}"] = to_attribute(name, value)
    return f"#{name} = :if_{name}"


# Worker rows as DynamoDB items: only what differs from the defaults, so a row stays below 1 kB.

COUNTED = ("reqnum", "granted_load", "retry_load", "n_late", "n_refused")
"""Written by reservations alone, by addition; always stored."""

_ENUMS = {"state": WorkerState, "after_drain": AfterDrain, "ticket": TicketGeneration}
_DEFAULTS = {f.name: f.default for f in fields(Worker) if f.default is not MISSING}
_INTEGERS = frozenset(f.name for f in fields(Worker) if f.type == "int")
_TEXTS = frozenset(f.name for f in fields(Worker) if f.type == "str")
_FLAGS = frozenset(f.name for f in fields(Worker) if f.type == "bool")
_FIRST_MARK, _MARK, _USE = struct.Struct("<dd"), struct.Struct("<fd"), struct.Struct("<HBHH")
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
    "certificate_sha256": (bytes.fromhex, bytes.hex),
}
"""How fields of many numbers are packed and unpacked."""


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
        f.name: to_attribute(f.name, value)
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
    for name, attribute in item.items():
        if name not in _FIELD_NAMES:
            continue
        try:
            values[name] = _from_attribute(name, attribute)
        except (KeyError, TypeError, ValueError, struct.error):
            is_foreign = True
    return replace(Worker(**values), state=WorkerState.FOREIGN) if is_foreign else Worker(**values)


_FIELD_NAMES = frozenset(f.name for f in fields(Worker))


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
