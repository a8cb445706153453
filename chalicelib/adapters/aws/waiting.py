"""Waiting requests, and the buckets of keys with limits, in DynamoDB."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from chalicelib.adapters.aws.clients import error_code, number_text, storage_errors
from chalicelib.adapters.aws.routing import Item, routing_key
from chalicelib.adapters.aws.tables import ROUTING
from chalicelib.core.codec import from_plain
from chalicelib.core.model.load import WAITING_ENDS_S, WaitingRequest
from chalicelib.core.moments import is_ahead
from chalicelib.core.routing.quota import KeyBuckets, Taken
from chalicelib.ports.errors import StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

WAITING_TTL_S = 120


class DynamoWaitingRepository:
    """Implements `ports.routing_view.WaitingRepository`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = ROUTING.full_name(prefix)

    def put(self, request: WaitingRequest) -> None:
        """Add, or refresh; the row expires by itself soon after the last poll."""
        item: Item = {
            **routing_key(request.endpoint_id, f"waiting#{request.request_idx}"),
            "cost": {"N": number_text(request.cost)},
            "first_seen_at": {"N": number_text(request.first_seen_at)},
            "last_polled_at": {"N": number_text(request.last_polled_at)},
            "key_id": {"S": request.key_id},
            "is_paced": {"BOOL": request.is_paced},
            "expires_at": {"N": str(int(request.last_polled_at) + WAITING_TTL_S)},
        }
        if request.needs_on_demand:
            item["needs_on_demand"] = {"BOOL": True}
        if request.key_share != 1.0:
            item["key_share"] = {"N": number_text(request.key_share)}
        with storage_errors():
            self._client.put_item(TableName=self._table, Item=item)

    def remove(self, endpoint_id: int, request_idx: int) -> None:
        """The request was granted."""
        with storage_errors():
            self._client.delete_item(
                TableName=self._table, Key=routing_key(endpoint_id, f"waiting#{request_idx}")
            )

    def list(self, endpoint_id: int, *, polled_since: float) -> Sequence[WaitingRequest]:
        """Those polled since then, oldest first seen first."""
        with storage_errors():
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="endpoint_id = :endpoint AND begins_with(#item, :waiting)",
                FilterExpression="last_polled_at >= :since",
                ExpressionAttributeNames={"#item": "item"},
                ExpressionAttributeValues={
                    ":endpoint": {"N": str(endpoint_id)},
                    ":waiting": {"S": "waiting#"},
                    ":since": {"N": number_text(polled_since)},
                },
            )
            read = [_waiting(endpoint_id, item) for page in pages for item in page["Items"]]
        found = [
            one
            for one in read
            if one is not None and not is_ahead(one.last_polled_at, polled_since + WAITING_ENDS_S)
        ]
        return sorted(found, key=lambda r: (r.first_seen_at, r.request_idx))

    def list_all(self, *, polled_since: float) -> Sequence[WaitingRequest]:
        """The same of all groups: one scan, which reads the views too."""
        with storage_errors():
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table,
                FilterExpression="begins_with(#item, :waiting) AND last_polled_at >= :since",
                ExpressionAttributeNames={"#item": "item"},
                ExpressionAttributeValues={
                    ":waiting": {"S": "waiting#"},
                    ":since": {"N": number_text(polled_since)},
                },
            )
            items = [item for page in pages for item in page["Items"]]
        read = [_waiting(int(item["endpoint_id"]["N"]), item) for item in items]
        return sorted(filter(None, read), key=lambda r: (r.first_seen_at, r.request_idx))


def _waiting(endpoint_id: int, item: Item) -> WaitingRequest | None:
    """The request in an item; None if another version's router waits for it in its own form."""
    try:
        return WaitingRequest(
            endpoint_id=endpoint_id,
            request_idx=int(item["item"]["S"].removeprefix("waiting#")),
            cost=float(item["cost"]["N"]),
            first_seen_at=float(item["first_seen_at"]["N"]),
            last_polled_at=float(item["last_polled_at"]["N"]),
            key_id=item["key_id"]["S"],
            is_paced=item.get("is_paced", {}).get("BOOL", False),  # older routers wrote none
            needs_on_demand=item.get("needs_on_demand", {}).get("BOOL", False),
            key_share=float(item.get("key_share", {}).get("N", 1.0)),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


class DynamoQuotaRepository:
    """Implements `ports.keys.QuotaRepository`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = ROUTING.full_name(prefix)

    def put(self, buckets: KeyBuckets, *, kept_until: float) -> KeyBuckets | None:
        """One conditional write, which gives what stood in its way."""
        before = buckets.revision - 1
        item: Item = {
            **routing_key(_quota_place(buckets.key_id), f"quota#{buckets.key_id}"),
            "revision": {"N": str(buckets.revision)},
            "granted": {"S": _taken_text(buckets.granted)},
            "queued": {"S": _taken_text(buckets.queued)},
            "expires_at": {"N": str(int(kept_until) + 1)},
        }
        with storage_errors():
            try:
                if before:
                    self._client.put_item(
                        TableName=self._table,
                        Item=item,
                        ConditionExpression="revision = :before",
                        ExpressionAttributeValues={":before": {"N": str(before)}},
                        ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    )
                else:
                    self._client.put_item(
                        TableName=self._table,
                        Item=item,
                        ConditionExpression="attribute_not_exists(revision)",
                        ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    )
            except ClientError as error:
                if error_code(error) != "ConditionalCheckFailedException":
                    raise
                return _buckets(buckets.key_id, error.response.get("Item", {}))  # type: ignore[arg-type]
        return None


def _quota_place(key_id: str) -> int:
    """A partition key of its own, that no group has: a key's quota spans groups.

    Under one partition key the buckets of all callers together would take 1,000 grants a second.
    """
    return -1 - zlib.crc32(key_id.encode())


_TAKEN = tuple(one.name for one in fields(Taken))


def _taken_text(taken: Taken) -> str:
    return json.dumps(astuple(taken), separators=(",", ":"))


def _taken(text: str) -> Taken:
    return from_plain(Taken, dict(zip(_TAKEN, json.loads(text), strict=True)))


def _buckets(key_id: str, item: Item) -> KeyBuckets:
    if not item:  # it has expired meanwhile
        return KeyBuckets(key_id=key_id)
    try:
        return KeyBuckets(
            key_id=key_id,
            revision=int(item["revision"]["N"]),
            granted=_taken(item["granted"]["S"]),
            queued=_taken(item["queued"]["S"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        text = "another version of Ballast counts this key's quota in a form not known here"
        raise StorageUnavailableError(text) from error
