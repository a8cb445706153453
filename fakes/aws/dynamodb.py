"""A DynamoDB client in virtual time, for the calls that the hot path's adapters make.

It refuses and delays as the real one does (docs/internals/aws-rules.md): partitions that have
served their second throttle, items and numbers beyond the limits are refused, an eventually
consistent read may give what was before, and what has expired stays until `sweep`. A write whose
condition fails is billed as well.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Context, Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from chalicelib.adapters.aws.tables import TABLES, TableDefinition
from fakes.aws.expressions import Names, condition, update
from fakes.aws.partitions import (
    NEW_TABLE_PARTITIONS,
    Partitions,
    Place,
    ThrottledError,
    place_of,
)
from fakes.ports.clock import ManualClock

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

MAX_ITEM_BYTES = 400 * 1024
MAX_DIGITS, MAX_EXPONENT, MIN_EXPONENT = 38, 125, -130
PAGE_BYTES = 1024 * 1024
_EXACT = Context(prec=MAX_DIGITS)
STALE_S = 1.0  # most replicas have a write within a second; AWS promises no bound
STALE_SHARE = 1 / 3  # of reads that the third replica answers

Item = dict[str, Any]


@dataclass(slots=True)
class _Stored:
    item: Item | None
    before: Item | None
    changed_at: float
    size: int = 0


@dataclass(slots=True)
class _Table:
    definition: TableDefinition
    partitions: Partitions
    rows: dict[str, dict[str, _Stored]] = field(default_factory=lambda: defaultdict(dict))


class TimedDynamoDb:
    """Implements what the adapters use of boto3's client. `calls` counts by operation and table.

    `warm`: partitions that a table has from the beginning, by its short name.
    """

    def __init__(
        self,
        clock: ManualClock,
        prefix: str,
        *,
        warm: Mapping[str, int] | None = None,
        stale_share: float = STALE_SHARE,
        burst_s: float = 0.0,
        seed: int = 0,
    ) -> None:
        self._clock, self._rng, self._stale_share = clock, random.Random(seed), stale_share
        n_warm = {table.name: NEW_TABLE_PARTITIONS for table in TABLES} | dict(warm or {})
        self.tables = {
            table.full_name(prefix): _Table(
                table, Partitions(n_warm[table.name], burst_s=burst_s, seed=seed)
            )
            for table in TABLES
        }
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()

    # ------------------------------------------------------------------------------- operations

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool = False) -> Item:  # noqa: N803
        """One item; without ConsistentRead perhaps as it was before."""
        table, row = self._row("GetItem", TableName, Key)
        item = self._seen(row, is_consistent=ConsistentRead)
        units = _read_units(row.size, is_consistent=ConsistentRead)
        with self._spending("GetItem", TableName):
            table.partitions.read(self._place(table, Key), units, self._clock.now())
        return {"Item": dict(item)} if item is not None else {}

    def put_item(self, *, TableName: str, Item: Item, **options: Any) -> Item:  # noqa: N803
        """A whole item, under a condition."""
        return self._write("PutItem", TableName, Item, options, lambda _: dict(Item))

    def delete_item(self, *, TableName: str, Key: Item, **options: Any) -> Item:  # noqa: N803
        """Nothing is left, under a condition."""
        return self._write("DeleteItem", TableName, Key, options, lambda _: None)

    def update_item(self, *, TableName: str, Key: Item, **options: Any) -> Item:  # noqa: N803
        """Parts of an item, under a condition."""
        parts = update(options["UpdateExpression"], _names(options))
        values = options.get("ExpressionAttributeValues", {})

        def change(before: Item | None) -> Item:
            after = dict(before) if before is not None else dict(Key)
            for verb, name, value in parts:
                if verb == "REMOVE":
                    after.pop(name, None)
                elif verb == "SET":
                    after[name] = values[value]
                else:
                    had, more = after.get(name, {"N": "0"})["N"], values[value]["N"]
                    after[name] = {"N": str(_EXACT.add(Decimal(had), Decimal(more)))}
            return after

        return self._write("UpdateItem", TableName, Key, options, change)

    def transact_write_items(self, *, TransactItems: list[Item]) -> Item:  # noqa: N803
        """Puts, all or none, each paid for twice."""
        puts = [entry["Put"] for entry in TransactItems]
        for _ in range(2):  # prepared, then written
            for put in puts:
                table, item = self.tables[put["TableName"]], put["Item"]
                _check_numbers(item)
                _check_size(size := _size(item))
                with self._spending("TransactWriteItems", put["TableName"]):
                    place, units = self._place(table, item), math.ceil(size / 1024)
                    table.partitions.write(place, units, self._clock.now())
        for put in puts:
            table, row = self._row("TransactWriteItems", put["TableName"], item := put["Item"])
            hash_, sort = self._key(table, item)
            table.rows[hash_][sort] = _Stored(dict(item), row.item, self._clock.now(), _size(item))
        return {}

    def get_paginator(self, operation: str) -> Any:
        """Of `query` or `scan`."""
        return SimpleNamespace(paginate={"query": self.pages, "scan": self.scanned}[operation])

    def scanned(self, *, TableName: str, **options: Any) -> Iterator[Item]:  # noqa: N803
        """The pages of a scan; each partition key's items are a page here, and are paid for."""
        for hash_key, rows in list(self.tables[TableName].rows.items()):
            is_consistent = bool(options.get("ConsistentRead"))
            seen = [self._seen(row, is_consistent=is_consistent) for row in rows.values()]
            size = sum(row.size for row in rows.values())
            yield self._page(TableName, hash_key, [item for item in seen if item], size, options)

    def pages(self, *, TableName: str, **options: Any) -> Iterator[Item]:  # noqa: N803
        """The pages of a query, each of one megabyte at most."""
        text, values = options["KeyConditionExpression"], options["ExpressionAttributeValues"]
        wanted, is_consistent = condition(text, _names(options)), options.get("ConsistentRead")
        hash_key = _text(values[text.split(" AND ")[0].split("=")[1].strip()])
        found: list[Item] = []
        size = 0
        for _, row in sorted(self.tables[TableName].rows.get(hash_key, {}).items()):
            item = self._seen(row, is_consistent=bool(is_consistent))
            if item is None or not wanted(item, values):
                continue
            found.append(item)
            size += row.size
            if size >= PAGE_BYTES:
                yield self._page(TableName, hash_key, found, size, options)
                found, size = [], 0
        yield self._page(TableName, hash_key, found, size, options)

    def sweep(self) -> None:
        """TTL at last: what has expired is gone. AWS does so within days, no sooner."""
        now = self._clock.now()
        for table in self.tables.values():
            ttl = table.definition.ttl_attribute
            for rows in table.rows.values():
                for sort, row in list(rows.items()):
                    if ttl and row.item and ttl in row.item and float(row.item[ttl]["N"]) < now:
                        del rows[sort]

    # ---------------------------------------------------------------------------------- private

    def _page(
        self, name: str, hash_key: str, found: list[Item], size: int, options: Mapping[str, Any]
    ) -> Item:
        """A page is paid for as it is read, what the filter drops too."""
        self.calls[f"Query {name}"] += 1
        units = _read_units(size, is_consistent=bool(options.get("ConsistentRead")))
        with self._spending("Query", name):
            self.tables[name].partitions.read(place_of(hash_key, ""), units, self._clock.now())
        text, values = options.get("FilterExpression"), options.get("ExpressionAttributeValues", {})
        kept = condition(text, _names(options)) if text else lambda _i, _v: True
        return {"Items": [dict(item) for item in found if kept(item, values)]}

    def _row(self, operation: str, name: str, key: Item) -> tuple[_Table, _Stored]:
        self.calls[f"{operation} {name}"] += 1
        table = self.tables[name]
        hash_, sort = self._key(table, key)
        return table, table.rows.get(hash_, {}).get(sort) or _Stored(None, None, 0.0)

    def _key(self, table: _Table, item: Item) -> tuple[str, str]:
        hash_name, _ = table.definition.hash_key
        range_key = table.definition.range_key
        return _text(item[hash_name]), _text(item[range_key[0]]) if range_key else ""

    def _place(self, table: _Table, key: Item) -> Place:
        return place_of(*self._key(table, key))

    def _seen(self, row: _Stored, *, is_consistent: bool) -> Item | None:
        is_fresh = is_consistent or self._clock.now() - row.changed_at >= STALE_S
        return row.item if is_fresh or self._rng.random() >= self._stale_share else row.before

    def _write(
        self,
        operation: str,
        name: str,
        key: Item,
        options: Mapping[str, Any],
        change: Callable[[Item | None], Item | None],
    ) -> Item:
        table, row = self._row(operation, name, key)
        before = row.item
        text, values = options.get("ConditionExpression"), options.get("ExpressionAttributeValues")
        holds = not text or condition(text, _names(options))(before or {}, values or {})
        _check_numbers(options.get("ExpressionAttributeValues") or key)
        after = change(before) if holds else before
        size = _size(after or {}) if holds else row.size
        _check_size(size)
        units = max(1, math.ceil(max(row.size, size) / 1024))
        with self._spending(operation, name):
            table.partitions.write(self._place(table, key), units, self._clock.now())
        if not holds:
            asked = options.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
            shown = {"Item": before} if before and asked else {}
            text = "The conditional request failed"
            raise _error("ConditionalCheckFailedException", text, operation, shown)
        hash_, sort = self._key(table, key)
        table.rows[hash_][sort] = _Stored(after, before, self._clock.now(), size)
        return _answer(options, before or {}, after or {})

    @contextmanager
    def _spending(self, operation: str, name: str) -> Iterator[None]:
        try:
            yield
        except ThrottledError as error:
            self.throttled[f"{operation} {name}"] += 1
            text = "Throughput exceeds the current capacity"
            raise _error("ProvisionedThroughputExceededException", text, operation) from error


def _answer(options: Mapping[str, Any], before: Item, after: Item) -> Item:
    answered = options.get("ReturnValues", "NONE")
    if answered == "ALL_OLD" and before:
        return {"Attributes": before}
    if answered == "ALL_NEW":
        return {"Attributes": dict(after)}
    if answered == "UPDATED_NEW":  # all that the expression names, whether it changed or not
        names = [name for _, name, _ in update(options["UpdateExpression"], _names(options))]
        return {"Attributes": {name: after[name] for name in names if name in after}}
    return {}


def timed_dynamodb(clock: ManualClock | None = None, **options: Any) -> DynamoDBClient:
    """The fake as the adapters take a client, with the tables of the prefix `ballast-test`."""
    return cast(Any, TimedDynamoDb(clock or ManualClock(), "ballast-test", **options))  # type: ignore[no-any-return]


def _error(
    code: str, message: str, operation: str = "", more: Mapping[str, Any] | None = None
) -> ClientError:
    answer = {"Error": {"Code": code, "Message": message}, **(more or {})}
    return ClientError(cast(Any, answer), operation)


def _read_units(size: int, *, is_consistent: bool) -> float:
    return max(1, math.ceil(size / 4096)) * (1.0 if is_consistent else 0.5)


def _names(options: Mapping[str, Any]) -> Names:
    return tuple(sorted(options.get("ExpressionAttributeNames", {}).items()))


def _text(attribute: Mapping[str, str]) -> str:
    """A key's value as text that sorts as DynamoDB does."""
    ((kind, value),) = attribute.items()
    return f"{int(value) + 10**15:020d}" if kind == "N" else value


def _size(item: Item) -> int:
    """Bytes as DynamoDB counts them; numbers, which it packs, count by their digits here."""
    return sum(
        len(name) + (len(value) if kind in "SNB" else 1)
        for name, attribute in item.items()
        for kind, value in attribute.items()
    )


_PLAIN_NUMBER = re.compile(r"-?\d{1,20}(\.\d{1,17})?")


def _check_size(size: int) -> None:
    if size > MAX_ITEM_BYTES:
        raise _error("ValidationException", "Item size has exceeded the maximum allowed size")


def _check_numbers(attributes: Item) -> None:
    """Refuse what DynamoDB refuses of the numbers that a request holds."""
    for attribute in attributes.values():
        number = attribute.get("N")
        if number is not None and not _PLAIN_NUMBER.fullmatch(number):
            check_number(number)


def check_number(text: str) -> None:
    """Refuse a number beyond DynamoDB's range or precision.

    Raises:
        ClientError: as DynamoDB answers.
    """
    value = Decimal(text)
    why = ""
    if not value.is_finite():
        why = f"The parameter cannot be converted to a numeric value: {text}"
    elif len("".join(map(str, value.as_tuple().digits)).strip("0")) > MAX_DIGITS:
        why = "Attempting to store more than 38 significant digits in a Number"
    elif value and not MIN_EXPONENT <= value.adjusted() <= MAX_EXPONENT:
        kind = "overflow" if value.adjusted() > MAX_EXPONENT else "underflow"
        why = f"Number {kind}. Attempting to store a number with magnitude {kind}ing the range"
    if why:
        raise _error("ValidationException", why)
