"""Callers' keys in DynamoDB, as items `caller#KEYID` of the table `keys`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.clients import storage_errors
from chalicelib.adapters.aws.tables import KEYS
from chalicelib.core.codec import from_plain, to_json
from chalicelib.ports.keys import CallerKey

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_PREFIX = "caller#"


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
        # Rows without the attribute were written before there were revisions: they count as 0.
        before = key.revision - 1
        is_first = "attribute_not_exists(revision) AND :before = :zero"
        with storage_errors():
            self._client.put_item(
                TableName=self._table,
                Item={
                    "key_id": {"S": _PREFIX + key.key_id},
                    "value": {"S": to_json(key)},
                    "revision": {"N": str(key.revision)},
                },
                ConditionExpression=f"revision = :before OR ({is_first})",
                ExpressionAttributeValues={":before": {"N": str(before)}, ":zero": {"N": "0"}},
            )

    def remove(self, key_id: str) -> None:
        """Forget a key."""
        with storage_errors():
            self._client.delete_item(TableName=self._table, Key={"key_id": {"S": _PREFIX + key_id}})


def _from_item(item: Mapping[str, Any]) -> CallerKey:
    """The key in an item; one that this version cannot read whole is foreign, and refused."""
    key_id = str(item["key_id"]["S"]).removeprefix(_PREFIX)
    try:
        key = from_plain(CallerKey, json.loads(item["value"]["S"]))
        if key.key_id == key_id:
            return key
    except (KeyError, TypeError, ValueError):
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
