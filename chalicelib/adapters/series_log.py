"""Stats in DynamoDB: one item holds all values of a scope's minute; items expire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.tables import EVENTS
from chalicelib.ports.errors import StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

RETENTION_S = 35 * 86_400  # the dashboard shows 30 days


class DynamoSeriesLog:
    """SeriesLog on the table `events`, under scopes `series:…`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = EVENTS.full_name(prefix)

    def put(self, scope: str, minute: int, values: Mapping[str, float]) -> None:
        """Replace the values of a minute (minutes since the epoch)."""
        item: dict[str, Any] = {
            "scope": {"S": f"series:{scope}"},
            "at_id": {"S": f"{minute:012d}"},
            "values": {"M": {k: {"N": repr(v)} for k, v in values.items() if math.isfinite(v)}},
            "expires_at": {"N": str(minute * 60 + RETENTION_S)},
        }
        try:
            self._client.put_item(TableName=self._table, Item=item)
        except (ClientError, BotoCoreError) as error:
            raise StorageUnavailableError(f"stats cannot be written: {error}") from error

    def read(
        self, scope: str, first_minute: int, last_minute: int
    ) -> Sequence[tuple[int, Mapping[str, float]]]:
        """The minutes that have values, oldest first."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="#s = :s AND at_id BETWEEN :first AND :last",
            ExpressionAttributeNames={"#s": "scope"},
            ExpressionAttributeValues={
                ":s": {"S": f"series:{scope}"},
                ":first": {"S": f"{max(0, first_minute):012d}"},
                ":last": {"S": f"{max(0, last_minute):012d}"},
            },
        )
        try:
            return [_minute(item) for page in pages for item in page["Items"]]
        except (ClientError, BotoCoreError) as error:
            raise StorageUnavailableError(f"stats cannot be read: {error}") from error


def _minute(item: Mapping[str, Any]) -> tuple[int, Mapping[str, float]]:
    values = {name: float(value["N"]) for name, value in item["values"]["M"].items()}
    return int(item["at_id"]["S"]), values
