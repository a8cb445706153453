"""Routing views, lease, directory and waiting rows: one suite for the fakes and for DynamoDB."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from chalicelib.adapters.aws.routing import DynamoRoutingViewRepository
from chalicelib.adapters.aws.waiting import DynamoQuotaRepository, DynamoWaitingRepository
from chalicelib.core.model.load import WaitingRequest
from chalicelib.core.routing.quota import KeyBuckets, Taken
from chalicelib.ports.keys import QuotaRepository
from chalicelib.ports.routing_view import RoutingViewRepository, StoredView, WaitingRepository
from fakes.aws.dynamodb import timed_dynamodb
from fakes.ports.quotas import FakeQuotaRepository
from fakes.ports.routing_view import FakeRoutingViewRepository
from fakes.ports.waiting import FakeWaitingRepository

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

NOW = 1_800_000_000.25


@pytest.fixture(params=["memory", "dynamo", "dynamo in virtual time"])
def views(request: pytest.FixtureRequest) -> RoutingViewRepository:
    if request.param == "memory":
        return FakeRoutingViewRepository()
    if request.param == "dynamo in virtual time":
        return DynamoRoutingViewRepository(
            timed_dynamodb(stale_share=0, burst_s=300), "ballast-test"
        )
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    return DynamoRoutingViewRepository(client, "ballast-test")


@pytest.fixture(params=["memory", "dynamo", "dynamo in virtual time"])
def waiting(request: pytest.FixtureRequest) -> WaitingRepository:
    if request.param == "memory":
        return FakeWaitingRepository()
    if request.param == "dynamo in virtual time":
        return DynamoWaitingRepository(timed_dynamodb(stale_share=0, burst_s=300), "ballast-test")
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    return DynamoWaitingRepository(client, "ballast-test")


@pytest.fixture(params=["memory", "dynamo", "dynamo in virtual time"])
def quotas(request: pytest.FixtureRequest) -> QuotaRepository:
    if request.param == "memory":
        return FakeQuotaRepository()
    if request.param == "dynamo in virtual time":
        return DynamoQuotaRepository(timed_dynamodb(stale_share=0, burst_s=300), "ballast-test")
    client: DynamoDBClient = request.getfixturevalue("dynamodb")
    return DynamoQuotaRepository(client, "ballast-test")


def make_view(shard: int = 0, built_at: float = NOW, blob: bytes = b"view") -> StoredView:
    return StoredView(shard=shard, n_shards=2, built_at=built_at, blob=blob)


def make_request(idx: int, **values: float) -> WaitingRequest:
    defaults = {"cost": 100.0, "first_seen_at": NOW, "last_polled_at": NOW}
    return WaitingRequest(
        endpoint_id=7,
        request_idx=idx,
        key_id="a-r-1",
        is_paced=idx % 2 == 0,
        needs_on_demand=idx % 3 == 0,
        key_share=2.5 if idx % 5 == 0 else 1.0,
        **{**defaults, **values},
    )


def test_a_view_comes_back_shard_by_shard(views: RoutingViewRepository) -> None:
    shards = [make_view(0, blob=b"zero"), make_view(1, blob=b"\x00one\xff")]
    views.write(7, shards)
    assert [views.read(7, 0), views.read(7, 1)] == shards
    assert views.read(7, 2) is None
    assert views.read(8, 0) is None


def test_an_older_view_never_replaces_a_newer_one(views: RoutingViewRepository) -> None:
    views.write(7, [make_view(built_at=NOW, blob=b"newer")])
    views.write(7, [make_view(built_at=NOW - 1, blob=b"older")])
    stored = views.read(7, 0)
    assert stored is not None
    assert stored.blob == b"newer"


def test_the_lease_is_given_once_per_duration(views: RoutingViewRepository) -> None:
    assert views.try_lease(7, NOW, 2.0)
    assert not views.try_lease(7, NOW + 1.9, 2.0)
    assert views.try_lease(8, NOW, 2.0)
    assert views.try_lease(7, NOW + 2.0, 2.0)


def test_the_directory_is_replaced_as_a_whole(views: RoutingViewRepository) -> None:
    assert views.read_directory() is None
    views.write_directory(b"one")
    views.write_directory(b"two")
    assert views.read_directory() == b"two"


@pytest.mark.parametrize("n_bytes", [400_001, 1_200_000])
def test_a_large_directory_is_one_value_all_the_same(
    views: RoutingViewRepository, n_bytes: int
) -> None:
    """What no item can hold (DynamoDB's 400 KB) is read as it was written."""
    large, other = random.Random(1).randbytes(n_bytes), random.Random(2).randbytes(n_bytes + 9)
    for blob in (large, other, b"small again", large):
        views.write_directory(blob)
        assert views.read_directory() == blob


def test_waiting_requests_are_listed_oldest_first_while_they_are_polled(
    waiting: WaitingRepository,
) -> None:
    young = make_request(2**53 - 1, first_seen_at=NOW - 1)
    old = make_request(5, first_seen_at=NOW - 9.75)
    given_up = make_request(6, last_polled_at=NOW - 30)
    for request in (young, old, given_up):
        waiting.put(request)
    assert waiting.list(7, polled_since=NOW - 20) == [old, young]
    assert waiting.list(8, polled_since=0) == []


def test_a_poll_refreshes_its_row(waiting: WaitingRepository) -> None:
    waiting.put(make_request(5))
    waiting.put(make_request(5, last_polled_at=NOW + 10))
    assert waiting.list(7, polled_since=NOW + 5) == [make_request(5, last_polled_at=NOW + 10)]


def test_a_granted_request_is_forgotten(waiting: WaitingRepository) -> None:
    waiting.put(make_request(5))
    waiting.remove(7, 5)
    waiting.remove(7, 5)
    assert waiting.list(7, polled_since=0) == []


def test_buckets_change_under_a_condition_which_tells_what_stands(quotas: QuotaRepository) -> None:
    taken = Taken(requests=0.1, load=1e9, counted_at=NOW, ends=((NOW + 5, 2), (NOW + 7.5, 1)))
    first = KeyBuckets(key_id="a-r-1", revision=1, granted=taken)
    assert quotas.put(first, kept_until=NOW + 60) is None
    assert quotas.put(KeyBuckets(key_id="a-r-1", revision=1), kept_until=NOW + 60) == first
    second = KeyBuckets(key_id="a-r-1", revision=2, queued=taken)
    assert quotas.put(second, kept_until=NOW + 60) is None
    assert quotas.put(KeyBuckets(key_id="a-r-1", revision=2), kept_until=NOW) == second
    lost = KeyBuckets(key_id="a-r-2", revision=5)
    assert quotas.put(lost, kept_until=NOW) == KeyBuckets(key_id="a-r-2")


def test_what_a_clock_wrote_that_was_days_ahead_stands_in_nobodys_way(
    views: RoutingViewRepository, waiting: WaitingRepository
) -> None:
    ahead = NOW + 86_400.0
    views.write(7, [make_view(built_at=ahead, blob=b"ahead")])
    views.write(7, [make_view(built_at=NOW, blob=b"now")])
    stored = views.read(7, 0)
    assert stored is not None
    assert stored.blob == b"now"
    assert views.try_lease(7, ahead, 1.0)
    assert views.try_lease(7, NOW, 1.0)
    assert not views.try_lease(7, NOW, 1.0)
    waiting.put(make_request(1, last_polled_at=ahead))
    waiting.put(make_request(2))
    assert [one.request_idx for one in waiting.list(7, polled_since=NOW - 20.0)] == [2]
