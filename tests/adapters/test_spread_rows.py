"""The rows of a large group lie under several partition keys; a small group pays nothing for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.adapters.aws.workers.placing import (
    MAX_SHARDS,
    SPREAD,
    group_and_shard,
    places_of,
    shard_key,
    shards_for,
)
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.ports.worker_repository import Grant, Refusal, Reservation
from fakes.bundles.hot_ports import ENDPOINT_ID, make_worker

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

NOW = 1_800_000_000.5
SMALL = SPREAD[0][0]
FIRST_ID, N_LARGE = 31_000_000, SMALL + 20


def repository(dynamodb: DynamoDBClient) -> DynamoWorkerRepository:
    """As a process begins: it remembers nothing."""
    return DynamoWorkerRepository(dynamodb, "ballast-test")


@pytest.fixture
def calls(dynamodb: DynamoDBClient) -> Iterator[Counter[str]]:
    """Of DynamoDB, by operation."""
    made: Counter[str] = Counter()

    def note(model: Any, **_: object) -> None:
        made[model.name] += 1

    dynamodb.meta.events.register("before-call.dynamodb", note)
    yield made
    dynamodb.meta.events.unregister("before-call.dynamodb", note)


def grow(dynamodb: DynamoDBClient, n_rows: int) -> DynamoWorkerRepository:
    """A group of so many workers, added by one process."""
    rows = repository(dynamodb)
    for instance_id in range(FIRST_ID, FIRST_ID + n_rows):
        rows.add(make_worker(instance_id, NOW))
    return rows


def keys_in_use(dynamodb: DynamoDBClient) -> Counter[int]:
    """How many items lie under each partition key."""
    pages = dynamodb.get_paginator("scan").paginate(TableName="ballast-test-workers")
    return Counter(int(i["endpoint_id"]["N"]) for page in pages for i in page["Items"])


def test_a_small_group_lies_under_its_own_id_and_is_read_by_one_query(
    dynamodb: DynamoDBClient, calls: Counter[str]
) -> None:
    grow(dynamodb, SMALL)
    assert keys_in_use(dynamodb) == {ENDPOINT_ID: SMALL}
    calls.clear()
    fresh = repository(dynamodb)
    assert len(fresh.list(ENDPOINT_ID)) == SMALL
    assert isinstance(fresh.reserve(ENDPOINT_ID, FIRST_ID, Grant(cost=1.0)), Refusal | Reservation)
    assert fresh.find(ENDPOINT_ID, FIRST_ID + 1) is not None
    fresh.update(ENDPOINT_ID, FIRST_ID, {"perf": 2.0})
    assert calls == {"Query": 1, "UpdateItem": 2, "GetItem": 1}


def test_a_group_that_grew_lies_under_several_keys(dynamodb: DynamoDBClient) -> None:
    grow(dynamodb, N_LARGE)
    held = keys_in_use(dynamodb)
    assert len(held) == SPREAD[1][1]
    assert {group_and_shard(key)[0] for key in held} == {ENDPOINT_ID}


def test_no_key_of_a_thousand_workers_takes_more_than_a_partition_serves() -> None:
    """Each worker: five grants a second at 1.3 attempts, and a report."""
    held = Counter(places_of(FIRST_ID + n, shards_for(n + 1))[0] for n in range(1_000))
    assert len(held) == MAX_SHARDS
    assert max(held.values()) * (5 * 1.3 + 1) < 1_000


def test_every_row_is_found_by_a_process_that_remembers_nothing(dynamodb: DynamoDBClient) -> None:
    """Rows lie where the group's size put them when they were added."""
    grow(dynamodb, N_LARGE)
    ids = list(range(FIRST_ID, FIRST_ID + N_LARGE))
    assert [w.instance_id for w in repository(dynamodb).list(ENDPOINT_ID)] == ids
    fresh = repository(dynamodb)
    for instance_id in ids[::3]:
        row = fresh.find(ENDPOINT_ID, instance_id)
        assert row is not None
        assert (row.endpoint_id, row.instance_id) == (ENDPOINT_ID, instance_id)
    fresh = repository(dynamodb)
    for instance_id in ids[::3]:
        reserved = fresh.reserve(ENDPOINT_ID, instance_id, Grant(cost=2.0))
        assert isinstance(reserved, Reservation)
        assert reserved.reqnum == 1
    fresh = repository(dynamodb)
    for instance_id in ids[::3]:
        changed = fresh.update(ENDPOINT_ID, instance_id, {"perf": 3.0}, if_state=WorkerState.READY)
        assert (changed.endpoint_id, changed.granted_load, changed.perf) == (ENDPOINT_ID, 2.0, 3.0)


def test_a_process_that_knows_where_rows_lie_makes_one_call_each(
    dynamodb: DynamoDBClient, calls: Counter[str]
) -> None:
    grow(dynamodb, N_LARGE)
    knowing = repository(dynamodb)
    knowing.list(ENDPOINT_ID)
    calls.clear()
    for instance_id in range(FIRST_ID, FIRST_ID + N_LARGE):
        knowing.reserve(ENDPOINT_ID, instance_id, Grant(cost=1.0))
    assert calls == {"UpdateItem": N_LARGE}


def test_a_row_is_added_once_wherever_it_lies(dynamodb: DynamoDBClient) -> None:
    grow(dynamodb, N_LARGE)
    knowing = repository(dynamodb)
    knowing.list(ENDPOINT_ID)
    for instance_id in (FIRST_ID, FIRST_ID + SMALL + 1, FIRST_ID + N_LARGE - 1):
        with pytest.raises(ConflictError):
            knowing.add(make_worker(instance_id, NOW))


def test_what_is_gone_is_refused_in_a_large_group_too(dynamodb: DynamoDBClient) -> None:
    rows = grow(dynamodb, N_LARGE)
    gone = FIRST_ID + N_LARGE - 1
    repository(dynamodb).remove(ENDPOINT_ID, gone)
    for process in (rows, repository(dynamodb)):
        assert process.find(ENDPOINT_ID, gone) is None
        assert process.reserve(ENDPOINT_ID, gone, Grant(cost=1.0)) == Refusal(None)
        with pytest.raises(NotFoundError):
            process.update(ENDPOINT_ID, gone, {"perf": 1.0})
        process.remove(ENDPOINT_ID, gone)


def test_a_group_that_was_emptied_begins_anew_with_one_key(
    dynamodb: DynamoDBClient, calls: Counter[str]
) -> None:
    knew_it_large = grow(dynamodb, SMALL + 8)
    remover = repository(dynamodb)
    for row in remover.list(ENDPOINT_ID):
        remover.remove(ENDPOINT_ID, row.instance_id)
    assert not keys_in_use(dynamodb)
    remover.add(make_worker(1, NOW))
    assert keys_in_use(dynamodb) == {ENDPOINT_ID: 1}
    assert isinstance(knew_it_large.reserve(ENDPOINT_ID, 1, Grant(cost=1.0)), Reservation)
    calls.clear()
    knew_it_large.reserve(ENDPOINT_ID, 1, Grant(cost=1.0))
    assert calls == {"UpdateItem": 1}


def test_ids_in_a_row_spread_evenly() -> None:
    homes = Counter(places_of(FIRST_ID + i, MAX_SHARDS)[0] for i in range(32 * MAX_SHARDS))
    assert len(homes) == MAX_SHARDS
    assert max(homes.values()) <= 2 * min(homes.values())
    assert group_and_shard(shard_key(7, 31)) == (7, 31)
