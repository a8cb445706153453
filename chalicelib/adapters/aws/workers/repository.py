"""Worker rows in DynamoDB. Every write is partial, and one round trip.

The rows of a large group lie under several partition keys (`placing.places_of`). How many is told
by a mark beside the rows of the first, so that a group that never grew pays nothing for it.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.bounded import Bounded

if TYPE_CHECKING:
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef
from collections.abc import Sequence

from botocore.exceptions import ClientError

from chalicelib.adapters.aws.clients import error_code, number_text, storage_errors
from chalicelib.adapters.aws.tables import WORKERS
from chalicelib.adapters.aws.workers.items import (
    COUNTED,
    from_item,
    is_default,
    stored_as,
    to_attribute,
    to_item,
)
from chalicelib.adapters.aws.workers.placing import (
    group_and_shard,
    places_of,
    shard_key,
    shards_for,
)
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.ports.worker_repository import Grant, Refusal, Reservation

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item = Mapping[str, AttributeValueTypeDef]

T = TypeVar("T")

_NO_BOUND = "1E+120"
_CHECK_FAILED = "ConditionalCheckFailedException"
_MARK_ID = -1  # "instance id" of the item that tells over how many shards a group has spread
_MAX_STRAYS = 4_000  # rows that a process remembers to lie elsewhere than new ones
_READERS = 8  # queries at once


class DynamoWorkerRepository:
    """Implements `ports.worker_repository.WorkerRepository`."""

    def __init__(self, client: DynamoDBClient, prefix: str) -> None:
        self._client = client
        self._table = WORKERS.full_name(prefix)
        self._n_shards: dict[int, int] = {}  # by group, as last seen; one unless told otherwise
        self._n_rows: dict[int, int] = {}
        self._strays: Bounded[tuple[int, int], int] = Bounded(_MAX_STRAYS)

    def reserve(self, endpoint_id: int, instance_id: int, grant: Grant) -> Reservation | Refusal:
        """One conditional UpdateItem; a refusal returns the row as it is."""

        def attempt(key: Item) -> Reservation | Refusal | None:
            return self._reserve_at(key, grant)

        return self._where_it_lies(endpoint_id, instance_id, attempt) or Refusal(None)

    def _reserve_at(self, key: Item, grant: Grant) -> Reservation | Refusal | None:
        cost = number_text(grant.cost)
        bound = _NO_BOUND if grant.bound == float("inf") else number_text(grant.bound)
        with storage_errors():
            try:
                reply = self._client.update_item(
                    TableName=self._table,
                    Key=key,
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
                item: Any = error.response.get("Item")
                return Refusal(from_item(item)) if item else None
        new = reply["Attributes"]
        return Reservation(
            reqnum=int(new["reqnum"]["N"]), granted_load=float(new["granted_load"]["N"])
        )

    def find(self, endpoint_id: int, instance_id: int) -> Worker | None:
        """One row, strongly consistent."""
        item = self._where_it_lies(endpoint_id, instance_id, self._get)
        return from_item(item) if item else None

    def list(self, endpoint_id: int) -> Sequence[Worker]:
        """All rows of a group, strongly consistent, by instance id."""
        items = self._query(shard_key(endpoint_id, 0))
        n_shards = next((_told_by(item) for item in items if _is_mark(item)), 1)
        self._n_shards[endpoint_id] = n_shards
        if n_shards > 1:
            with ThreadPoolExecutor(_READERS) as readers:
                keys = [shard_key(endpoint_id, shard) for shard in range(1, n_shards)]
                items += [item for found in readers.map(self._query, keys) for item in found]
        self._n_rows[endpoint_id] = 0
        return self._take_in(items)

    def list_all(self) -> Sequence[Worker]:
        """All rows of all groups, strongly consistent, by group and instance id."""
        with storage_errors():
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table, ConsistentRead=True
            )
            items: builtins.list[Item] = [item for page in pages for item in page["Items"]]
        self._n_shards = {_group_of(item): _told_by(item) for item in items if _is_mark(item)}
        self._n_rows = {}
        return self._take_in(items)

    def _take_in(self, items: Iterable[Item]) -> Sequence[Worker]:
        """The rows among items; remembers how many a group has, and where they lie."""
        rows = []
        for item in items:
            if not _is_mark(item):
                rows.append(worker := from_item(item))
                self._saw(worker.endpoint_id, worker.instance_id, _shard_of(item))
                n_rows = self._n_rows.get(worker.endpoint_id, 0)
                self._n_rows[worker.endpoint_id] = n_rows + 1
        return sorted(rows, key=lambda worker: (worker.endpoint_id, worker.instance_id))

    def add(self, worker: Worker) -> None:
        """A new row, unless it exists."""
        endpoint_id, instance_id = worker.endpoint_id, worker.instance_id
        n_rows = self._n_rows.get(endpoint_id, 0) + 1
        n_shards = shards_for(n_rows)
        if n_shards > 1:
            if n_shards > self._n_shards.get(endpoint_id, 1):
                self._spread(endpoint_id, n_shards)
            if self.find(endpoint_id, instance_id) is not None:
                raise ConflictError(f"worker {instance_id} has a row")
        place = places_of(instance_id, n_shards)[0]
        with storage_errors():
            self._client.put_item(
                TableName=self._table,
                Item={**to_item(worker), **_key(endpoint_id, instance_id, place)},
                ConditionExpression="attribute_not_exists(instance_id)",
            )
        self._n_rows[endpoint_id] = n_rows
        self._saw(endpoint_id, instance_id, place)

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
            "UpdateExpression": expression,
            "ConditionExpression": " AND ".join(conditions),
            "ExpressionAttributeNames": names,
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if values:  # DynamoDB refuses an empty map
            arguments["ExpressionAttributeValues"] = values

        def attempt(key: Item) -> Worker | None:
            with storage_errors():
                try:
                    return from_item(self._client.update_item(Key=key, **arguments)["Attributes"])
                except ClientError as error:
                    if error_code(error) != _CHECK_FAILED or error.response.get("Item"):
                        raise
            return None

        updated = self._where_it_lies(endpoint_id, instance_id, attempt)
        if updated is None:
            raise NotFoundError(f"no worker {instance_id}")
        return updated

    def remove(self, endpoint_id: int, instance_id: int) -> None:
        """Forget a row; nothing if it is gone already."""
        if not self._where_it_lies(endpoint_id, instance_id, self._delete):
            return
        self._strays.pop((endpoint_id, instance_id), None)
        self._n_rows[endpoint_id] = self._n_rows.get(endpoint_id, 1) - 1
        is_spread = self._n_shards.get(endpoint_id, 1) > 1
        if is_spread and self._n_rows[endpoint_id] <= 0 and not self.list(endpoint_id):
            self._delete(_key(endpoint_id, _MARK_ID, 0))  # an empty group begins anew

    # ------------------------------------------------------------------------- where rows lie

    def _where_it_lies(
        self, endpoint_id: int, instance_id: int, attempt: Callable[[Item], T | None]
    ) -> T | None:
        """What an attempt gives at the row's key; it gives None where no row is."""
        before = self._strays.get((endpoint_id, instance_id))
        if before is None:
            before = places_of(instance_id, self._n_shards.get(endpoint_id, 1))[0]
        result = attempt(_key(endpoint_id, instance_id, before))
        if result is not None:
            return result
        mark = self._get(_key(endpoint_id, _MARK_ID, 0))
        self._n_shards[endpoint_id] = n_shards = _told_by(mark) if mark else 1
        for place in places_of(instance_id, n_shards):
            key = _key(endpoint_id, instance_id, place)
            if place != before and self._get(key) is not None:
                self._saw(endpoint_id, instance_id, place)
                return attempt(key)
        return None

    def _saw(self, endpoint_id: int, instance_id: int, place: int) -> None:
        if place == places_of(instance_id, self._n_shards.get(endpoint_id, 1))[0]:
            self._strays.pop((endpoint_id, instance_id), None)
        else:
            self._strays[endpoint_id, instance_id] = place

    def _spread(self, endpoint_id: int, n_shards: int) -> None:
        """Mark that rows lie under more keys, before one does; a mark only ever rises."""
        try:
            with storage_errors():
                self._client.update_item(
                    TableName=self._table,
                    Key=_key(endpoint_id, _MARK_ID, 0),
                    UpdateExpression="SET n_shards = :n",
                    ConditionExpression="attribute_not_exists(n_shards) OR n_shards < :n",
                    ExpressionAttributeValues={":n": {"N": str(n_shards)}},
                )
        except ConflictError:
            pass  # another writer's mark is as high; it is read when a row is missed
        self._n_shards[endpoint_id] = n_shards

    def _get(self, key: Item) -> Item | None:
        with storage_errors():
            reply = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        return reply.get("Item")

    def _query(self, key: int) -> builtins.list[Item]:
        with storage_errors():
            pages = self._client.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression="endpoint_id = :endpoint",
                ExpressionAttributeValues={":endpoint": {"N": str(key)}},
                ConsistentRead=True,
            )
            return [item for page in pages for item in page["Items"]]

    def _delete(self, key: Item) -> bool | None:
        with storage_errors():
            reply = self._client.delete_item(TableName=self._table, Key=key, ReturnValues="ALL_OLD")
        return True if reply.get("Attributes") else None


def _key(endpoint_id: int, instance_id: int, shard: int) -> dict[str, AttributeValueTypeDef]:
    key = shard_key(endpoint_id, shard)
    return {"endpoint_id": {"N": str(key)}, "instance_id": {"N": str(instance_id)}}


def _shard_of(item: Item) -> int:
    return group_and_shard(int(item["endpoint_id"]["N"]))[1]


def _group_of(item: Item) -> int:
    return group_and_shard(int(item["endpoint_id"]["N"]))[0]


def _is_mark(item: Item) -> bool:
    return item["instance_id"]["N"] == str(_MARK_ID)


def _told_by(mark: Item) -> int:
    return int(mark["n_shards"]["N"])


def _update_expression(
    changes: Mapping[str, object],
) -> tuple[dict[str, str], dict[str, AttributeValueTypeDef], str]:
    """(names, values, expression): defaults are removed, everything else is set."""
    names = {f"#{name}": stored_as(name) for name in changes}
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
    names[f"#{name}"] = stored_as(name)
    if is_default(name, value):
        return f"attribute_not_exists(#{name})"
    values[f":if_{name}"] = to_attribute(name, value)
    return f"#{name} = :if_{name}"
