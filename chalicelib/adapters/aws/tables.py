"""Table names, keys and TTL attributes: one definition for infra, local system and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.literals import ScalarAttributeTypeType


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """A table by its short name; `hash_key` and `range_key` are (name, "S" or "N")."""

    name: str
    hash_key: tuple[str, ScalarAttributeTypeType]
    range_key: tuple[str, ScalarAttributeTypeType] | None = None
    ttl_attribute: str | None = None

    def full_name(self, prefix: str) -> str:
        """The name in DynamoDB."""
        return f"{prefix}-{self.name}"


CHUNK_BYTES = 350_000  # of a blob in one item; DynamoDB refuses items above 400 KB

CONFIG = TableDefinition("config", ("kind", "S"), ("id", "S"))
WORKERS = TableDefinition("workers", ("endpoint_id", "N"), ("instance_id", "N"))
ROUTING = TableDefinition("routing", ("endpoint_id", "N"), ("item", "S"), "expires_at")
LEDGER = TableDefinition("ledger", ("account", "S"), ("item", "S"), "expires_at")
EVENTS = TableDefinition("events", ("scope", "S"), ("at_id", "S"), "expires_at")
KEYS = TableDefinition("keys", ("key_id", "S"))

TABLES = (CONFIG, WORKERS, ROUTING, LEDGER, EVENTS, KEYS)


def create_tables(client: DynamoDBClient, prefix: str) -> None:
    """Create the tables that do not exist yet, on demand, with their TTL."""
    pages = client.get_paginator("list_tables").paginate()
    existing = {name for page in pages for name in page["TableNames"]}
    for table in TABLES:
        if table.full_name(prefix) not in existing:
            _create(client, prefix, table)


def _create(client: DynamoDBClient, prefix: str, table: TableDefinition) -> None:
    keys = [table.hash_key] + ([table.range_key] if table.range_key else [])
    client.create_table(
        TableName=table.full_name(prefix),
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in keys
        ],
        KeySchema=[
            {"AttributeName": name, "KeyType": "HASH" if i == 0 else "RANGE"}
            for i, (name, _) in enumerate(keys)
        ],
    )
    client.get_waiter("table_exists").wait(TableName=table.full_name(prefix))
    if table.ttl_attribute:
        client.update_time_to_live(
            TableName=table.full_name(prefix),
            TimeToLiveSpecification={"Enabled": True, "AttributeName": table.ttl_attribute},
        )
