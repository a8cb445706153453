"""Callers' keys in DynamoDB, as items `caller#KEYID` of the table `keys`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.clients import storage_errors
from chalicelib.adapters.aws.tables import KEYS
from chalicelib.ports.keys import CallerKey

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_PREFIX = "caller#"
_FIELDS = frozenset(f.name for f in fields(CallerKey))


class DynamoKeyRepository:
    """Implements `ports.key_repository.KeyRepository`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = KEYS.full_name(prefix)

    def find(self, key_id: str) -> CallerKey | None:
        """One key, strongly consistent."""
        with storage_errors():
            reply = self._client.get_item(
                TableName=self._table,
                Key={"key_id": {"S": _PREFIX + key_id}},
                ConsistentRead=True,
            )
        item = reply.get("Item")
        return _from_item(item) if item else None

    def list(self) -> Sequence[CallerKey]:
        """All keys."""
        with storage_errors():
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table,
                FilterExpression="begins_with(key_id, :prefix)",
                ExpressionAttributeValues={":prefix": {"S": _PREFIX}},
                ConsistentRead=True,
            )
            return [_from_item(item) for page in pages for item in page["Items"]]

    def put(self, key: CallerKey) -> None:
        """Add a key, or replace the revision before."""
        value = {**key.unknown, **_plain(key)}
        # Rows without the attribute were written before there were revisions: they count as 0.
        before = key.revision - 1
        is_first = "attribute_not_exists(revision) AND :before = :zero"
        with storage_errors():
            self._client.put_item(
                TableName=self._table,
                Item={
                    "key_id": {"S": _PREFIX + key.key_id},
                    "value": {"S": json.dumps(value, separators=(",", ":"))},
                    "revision": {"N": str(key.revision)},
                },
                ConditionExpression=f"revision = :before OR ({is_first})",
                ExpressionAttributeValues={":before": {"N": str(before)}, ":zero": {"N": "0"}},
            )

    def remove(self, key_id: str) -> None:
        """Forget a key."""
        with storage_errors():
            self._client.delete_item(TableName=self._table, Key={"key_id": {"S": _PREFIX + key_id}})


def _plain(key: CallerKey) -> dict[str, object]:
    plain = {**asdict(key), "verbs": sorted(key.verbs)}
    return {name: content for name, content in plain.items() if name not in _NOT_STORED}


def _from_item(item: Mapping[str, Any]) -> CallerKey:
    """The key in an item; one that this version cannot read whole is foreign, and refused."""
    key_id = str(item["key_id"]["S"]).removeprefix(_PREFIX)
    try:
        value = json.loads(item["value"]["S"])
        unknown = {name: v for name, v in value.items() if name not in _FIELDS}
        known = {name: v for name, v in value.items() if name in _FIELDS - _NOT_STORED}
        key = CallerKey(**{**known, "verbs": frozenset(known["verbs"]), "unknown": unknown})
        if key.key_id == key_id and _has_its_types(key):
            return key
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    return CallerKey(
        key_id=key_id,
        name="(written by another version)",
        verbs=frozenset(),
        endpoint_id=None,
        generation=0,
        created_at=0.0,
        is_foreign=True,
    )


_NOT_STORED = frozenset({"unknown", "is_foreign"})
_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "frozenset[str]": (frozenset,),
    "Mapping[str, str]": (dict,),
    "Mapping[str, object]": (dict,),
}


def _has_its_types(key: CallerKey) -> bool:
    """Whether every field is of the type that this version stores."""
    for field in fields(CallerKey):
        kind, _, optional = str(field.type).partition(" | ")
        value = getattr(key, field.name)
        if optional and value is None:
            continue
        if not isinstance(value, _TYPES[kind]) or (kind != "bool" and isinstance(value, bool)):
            return False
    return True
