"""Events in DynamoDB, by scope and time; they expire.

Through the low-level client, since the hot function logs too and loads no pynamodb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.clients import storage_errors
from chalicelib.adapters.aws.tables import EVENTS
from chalicelib.ports.errors import StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
import json
import uuid
from collections.abc import Iterator

from chalicelib.ports.event_log import Event

RETENTION_S = 35 * 86_400
"""The dashboard shows 30 days; a month's spend names the groups that were deleted in it."""
AUDIT_RETENTION_S = 400 * 86_400  # changes by people
_BATCH = 25  # DynamoDB's limit of a batch
_PAGE = 200
_MAX_SENDS = 5


class DynamoEventLog:
    """EventLog on the table `events`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = EVENTS.full_name(prefix)

    def append(self, events: Sequence[Event]) -> None:
        """Add events."""
        requests: list[Any] = [{"PutRequest": {"Item": _to_item(event)}} for event in events]
        for start in range(0, len(requests), _BATCH):
            self._write(requests[start : start + _BATCH])

    def tail(
        self, scope: str, *, limit: int, since: float = 0.0, kinds: frozenset[str] | None = None
    ) -> Sequence[Event]:
        """The newest `limit` events of a scope, oldest first."""
        newest_first: list[Event] = []
        for item in self._newest_first(scope, since, limit if kinds is None else _PAGE):
            event = _from_item(item)
            if kinds is None or event.kind in kinds:
                newest_first.append(event)
            if len(newest_first) >= limit:
                break
        return newest_first[::-1]

    def _write(self, requests: list[Any]) -> None:
        pending: Any = {self._table: requests}
        for _ in range(_MAX_SENDS):
            with storage_errors("events cannot be written"):
                pending = self._client.batch_write_item(RequestItems=pending)["UnprocessedItems"]
            if not pending:
                return
        raise StorageUnavailableError("events cannot be written: DynamoDB throttles")

    def _newest_first(self, scope: str, since: float, page: int) -> Iterator[dict[str, Any]]:
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#s = :s AND at_id >= :since",
            "ExpressionAttributeNames": {"#s": "scope"},
            "ExpressionAttributeValues": {":s": {"S": scope}, ":since": {"S": _stamp(since)}},
            "ScanIndexForward": False,
            "Limit": max(1, min(page, _PAGE)),
        }
        while True:
            with storage_errors("events cannot be read"):
                answer = self._client.query(**arguments)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _stamp(at: float) -> str:
    """A time as text that sorts like the time."""
    return f"{at:017.6f}"


def _to_item(event: Event) -> dict[str, Any]:
    is_persons = event.actor not in ("", "scaler") and not event.actor.startswith("worker:")
    lifetime_s = AUDIT_RETENTION_S if is_persons else RETENTION_S
    return {
        "scope": {"S": event.scope},
        "at_id": {"S": f"{_stamp(event.at)}#{uuid.uuid4().hex[:12]}"},
        "level": {"S": event.level},
        "kind": {"S": event.kind},
        "message": {"S": event.message},
        "facts": {"S": json.dumps(dict(event.facts))},
        "actor": {"S": event.actor},
        "expires_at": {"N": str(int(event.at + lifetime_s))},
    }


def _from_item(item: dict[str, Any]) -> Event:
    """The event in an item; of another version's what can be read."""
    at_id = item["at_id"]["S"]
    texts = {name: str(item.get(name, {}).get("S", "")) for name in _TEXTS}
    try:
        facts = json.loads(item["facts"]["S"])
    except (AttributeError, KeyError, TypeError, ValueError):
        facts = {}
    return Event(
        at=float(at_id.partition("#")[0]),
        scope=item["scope"]["S"],
        facts=facts if isinstance(facts, dict) else {},
        event_id=at_id,
        **texts,
    )


_TEXTS = ("level", "kind", "message", "actor")


# Stats in DynamoDB: one item holds all values of a scope's minute; items expire.


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
        with storage_errors("stats cannot be written"):
            self._client.put_item(TableName=self._table, Item=item)

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
        with storage_errors("stats cannot be read"):
            return [_minute(item) for page in pages for item in page["Items"]]


def _minute(item: Mapping[str, Any]) -> tuple[int, Mapping[str, float]]:
    raw = item.get("values", {}).get("M", {})  # another version's may be of another form
    values = {name: float(value["N"]) for name, value in raw.items() if "N" in value}
    return int(item["at_id"]["S"]), values
