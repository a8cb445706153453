"""Waiting requests in DynamoDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chalicelib.adapters.aws.clients import number_text, storage_errors
from chalicelib.adapters.aws.routing import Item, routing_key
from chalicelib.adapters.aws.tables import ROUTING
from chalicelib.ports.routing_view import WaitingRequest

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
            found = [_waiting(endpoint_id, item) for page in pages for item in page["Items"]]
        return sorted(found, key=lambda r: (r.first_seen_at, r.request_idx))


def _waiting(endpoint_id: int, item: Item) -> WaitingRequest:
    return WaitingRequest(
        endpoint_id=endpoint_id,
        request_idx=int(item["item"]["S"].removeprefix("waiting#")),
        cost=float(item["cost"]["N"]),
        first_seen_at=float(item["first_seen_at"]["N"]),
        last_polled_at=float(item["last_polled_at"]["N"]),
        key_id=item["key_id"]["S"],
        is_paced=item.get("is_paced", {}).get("BOOL", False),  # older routers wrote none
    )
