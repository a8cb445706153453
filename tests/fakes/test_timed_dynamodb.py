"""The DynamoDB in virtual time refuses and delays as docs/internals/aws-rules.md says."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from fakes.aws.dynamodb import check_number, timed_dynamodb
from fakes.aws.partitions import (
    DOUBLES_AFTER_S,
    HEAT_S,
    NEW_TABLE_PARTITIONS,
    PARTITION_READS,
    PARTITION_WRITES,
    Partitions,
    ThrottledError,
    place_of,
)
from fakes.ports.clock import ManualClock

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

TABLE = "ballast-test-workers"
NOW = 1_800_000_000.0
SPREAD_KEYS = [place_of(str(i), "") for i in range(2_000)]


def served(table: Partitions, places: list[Any], n: int, now: float) -> int:
    """How many of `n` writes in one second are not refused."""
    n_served = 0
    for i in range(n):
        try:
            table.write(places[i % len(places)], 1.0, now)
        except ThrottledError:
            continue
        n_served += 1
    return n_served


def put(client: DynamoDBClient, number: str = "1", **more: Any) -> None:
    key = {"endpoint_id": {"N": "7"}, "instance_id": {"N": "1"}}
    client.put_item(TableName=TABLE, Item={**key, "perf": {"N": number}, **more})


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_one_partition_key_takes_a_thousand_writes_a_second_and_a_new_table_four_thousand() -> None:
    one_key = [place_of("7", str(i)) for i in range(500)]
    assert served(Partitions(), one_key, 3_000, NOW) == PARTITION_WRITES
    at_most = NEW_TABLE_PARTITIONS * PARTITION_WRITES
    assert 0.9 * at_most < served(Partitions(), SPREAD_KEYS, 8_000, NOW) <= at_most


def test_reads_have_a_limit_of_their_own() -> None:
    table = Partitions()
    for _ in range(int(PARTITION_READS)):
        table.read(place_of("7", ""), 1.0, NOW)
    with pytest.raises(ThrottledError):
        table.read(place_of("7", ""), 1.0, NOW)
    table.write(place_of("7", ""), 1.0, NOW)
    table.read(place_of("7", ""), 1.0, NOW + 1)


def test_a_hot_partition_is_split_after_minutes_and_one_hot_item_never() -> None:
    many, one = Partitions(), Partitions()
    rows = [place_of("7", f"{i:04}") for i in range(100)]
    for second in range(int(HEAT_S) + 30):
        served(many, rows, 1_500, NOW + second)
        served(one, rows[:1], 1_500, NOW + second)
    assert served(many, rows, 1_500, NOW + HEAT_S + 31) > 1.3 * PARTITION_WRITES
    assert one.n_partitions == NEW_TABLE_PARTITIONS
    assert served(one, rows[:1], 1_500, NOW + HEAT_S + 31) == PARTITION_WRITES


def test_a_table_serves_twice_the_peak_of_half_an_hour_ago() -> None:
    table = Partitions()
    served(table, SPREAD_KEYS, 3_900, NOW)
    at_once = served(table, SPREAD_KEYS, 8_000, NOW + 60)
    later = served(table, SPREAD_KEYS, 8_000, NOW + 60 + DOUBLES_AFTER_S + 61)
    assert at_once <= 4_000
    assert later > 6_000


def test_a_refused_write_is_answered_as_dynamodb_does() -> None:
    client = timed_dynamodb(ManualClock(NOW))
    for _ in range(1_000):
        put(client)
    with pytest.raises(ClientError) as error:
        put(client)
    assert code_of(error) == "ProvisionedThroughputExceededException"


def test_a_write_whose_condition_fails_is_paid_for() -> None:
    client = timed_dynamodb(ManualClock(NOW))
    put(client)
    codes = []
    for _ in range(1_000):
        with pytest.raises(ClientError) as error:
            client.put_item(
                TableName=TABLE,
                Item={"endpoint_id": {"N": "7"}, "instance_id": {"N": "1"}},
                ConditionExpression="attribute_not_exists(instance_id)",
            )
        codes.append(code_of(error))
    assert codes.count("ConditionalCheckFailedException") == 999
    assert codes[-1] == "ProvisionedThroughputExceededException"


@pytest.mark.parametrize("number", ["inf", "nan", "1e126", "-1e126", "1e-131", "1." + "1" * 38])
def test_numbers_beyond_the_range_are_refused(number: str) -> None:
    with pytest.raises(ClientError) as error:
        put(timed_dynamodb(), number)
    assert code_of(error) == "ValidationException"


@pytest.mark.parametrize("number", ["0", "-9.99e125", "1e-130", "1." + "1" * 37, "1E+120"])
def test_numbers_within_it_are_taken(number: str) -> None:
    check_number(number)
    client = timed_dynamodb()
    put(client, number)
    key = {"endpoint_id": {"N": "7"}, "instance_id": {"N": "1"}}
    stored = client.get_item(TableName=TABLE, Key=key)["Item"]["perf"]["N"]
    assert Decimal(stored) == Decimal(number)


def test_an_item_has_400_kilobytes_at_most() -> None:
    client = timed_dynamodb(ManualClock(NOW))
    with pytest.raises(ClientError, match="maximum allowed size"):
        put(client, blob={"B": b"x" * 410_000})
    put(client, blob={"B": b"x" * 400_000})


def test_an_eventual_read_may_give_what_was_before_and_a_consistent_one_never() -> None:
    clock = ManualClock(NOW)
    client = timed_dynamodb(clock)
    key: Any = {"endpoint_id": {"N": "7"}, "instance_id": {"N": "1"}}
    put(client, "1")
    clock.advance(10)
    put(client, "2")

    def seen(*, is_consistent: bool) -> set[str]:
        reads = (
            client.get_item(TableName=TABLE, Key=key, ConsistentRead=is_consistent)
            for _ in range(50)
        )
        return {read["Item"]["perf"]["N"] for read in reads}

    assert seen(is_consistent=False) == {"1", "2"}
    assert seen(is_consistent=True) == {"2"}
    clock.advance(1)
    assert seen(is_consistent=False) == {"2"}


def test_what_has_expired_is_there_until_it_is_swept() -> None:
    clock = ManualClock(NOW)
    fake: Any = timed_dynamodb(clock)
    key = {"endpoint_id": {"N": "7"}, "item": {"S": "waiting#1"}}
    fake.put_item(
        TableName="ballast-test-routing", Item={**key, "expires_at": {"N": str(int(NOW) + 60)}}
    )
    clock.advance(86_400)
    assert fake.get_item(TableName="ballast-test-routing", Key=key)["Item"]
    fake.sweep()
    assert not fake.get_item(TableName="ballast-test-routing", Key=key)


def test_an_expression_that_nobody_taught_it_is_an_error_and_no_guess() -> None:
    client = timed_dynamodb()
    key: Any = {"endpoint_id": {"N": "7"}, "instance_id": {"N": "1"}}
    values: Any = {":one": {"N": "1"}}
    with pytest.raises(ValueError, match="if_not_exists"):
        client.update_item(
            TableName=TABLE,
            Key=key,
            UpdateExpression="SET perf = if_not_exists(perf, :one)",
            ExpressionAttributeValues=values,
        )
