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
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from chalicelib.adapters.aws.tables import TABLES, TableDefinition
from fakes.aws.expressions import Names, condition, update
from fakes.aws.partitions import Partitions, Place, ThrottledError, place_of
from fakes.ports.clock import ManualClock

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

MAX_ITEM_BYTES = 400 * 1024
MAX_DIGITS, MAX_EXPONENT, MIN_EXPONENT = 38, 125, -130
PAGE_BYTES = 1024 * 1024
_EXACT = Context(prec=MAX_DIGITS)
STALE_S = 1.0  # most replicas have a write within a second; AWS promises no bound
STALE_SHARE = 1 / 3  # of reads that the third replica answers
DEFAULT_WARM = 4

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

    `warm`: partitions that a table has from the beginning, by its short name; 4 otherwise.
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
        self._clock, self._rng = clock, random.Random(seed)
        self._stale_share = stale_share
        self.tables = {
            table.full_name(prefix): _Table(
                table,
                Partitions((warm or {}).get(table.name, DEFAULT_WARM), burst_s=burst_s, seed=seed),
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
        units = max(1, math.ceil(row.size / 4096)) * (1.0 if ConsistentRead else 0.5)
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
        for _ in range(2):  # prepared, then written
            for entry in TransactItems:
                put = entry["Put"]
                table = self.tables[put["TableName"]]
                _check_numbers(put["Item"])
                _check_size(size := _size(put["Item"]))
                units = math.ceil(size / 1024)
                with self._spending("TransactWriteItems", put["TableName"]):
                    place = self._place(table, put["Item"])
                    table.partitions.write(place, units, self._clock.now())
        for entry in TransactItems:
            name, item = entry["Put"]["TableName"], entry["Put"]["Item"]
            table, row = self._row("TransactWriteItems", name, item)
            hash_, sort = self._key(table, item)
            table.rows[hash_][sort] = _Stored(dict(item), row.item, self._clock.now(), _size(item))
        return {}

    def get_paginator(self, operation: str) -> Any:
        """Of `query` or `scan`."""
        return _Pages({"query": self.pages, "scan": self.scanned}[operation])

    def scanned(self, *, TableName: str, **options: Any) -> Iterator[Item]:  # noqa: N803
        """The pages of a scan; each partition key's items are a page here, and are paid for."""
        table, kept = self.tables[TableName], options.get("FilterExpression")
        filter_ = condition(kept, _names(options)) if kept else lambda _i, _v: True
        is_consistent = bool(options.get("ConsistentRead"))
        for hash_key, rows in list(table.rows.items()):
            self._pay(TableName, hash_key, sum(row.size for row in rows.values()), is_consistent)
            seen = [self._seen(row, is_consistent=is_consistent) for row in rows.values()]
            values = options.get("ExpressionAttributeValues", {})
            yield {"Items": [dict(item) for item in seen if item and filter_(item, values)]}

    def pages(self, *, TableName: str, **options: Any) -> Iterator[Item]:  # noqa: N803
        """The pages of a query, each of one megabyte at most."""
        table = self.tables[TableName]
        wanted = condition(options["KeyConditionExpression"], _names(options))
        kept = options.get("FilterExpression")
        filter_ = condition(kept, _names(options)) if kept else lambda _i, _v: True
        values, is_consistent = options["ExpressionAttributeValues"], options.get("ConsistentRead")
        text = options["KeyConditionExpression"].split(" AND ")[0]
        hash_key = _text(values[text.split("=")[1].strip()])
        found: list[Item] = []
        size = 0
        for row in [table.rows[hash_key][sort] for sort in sorted(table.rows.get(hash_key, {}))]:
            item = self._seen(row, is_consistent=bool(is_consistent))
            if item is None or not wanted(item, values):
                continue
            found.append(item)
            size += row.size
            if size >= PAGE_BYTES:
                self._pay(TableName, hash_key, size, is_consistent)
                yield {"Items": [dict(item) for item in found if filter_(item, values)]}
                found, size = [], 0
        self._pay(TableName, hash_key, size, is_consistent)
        yield {"Items": [dict(item) for item in found if filter_(item, values)]}

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

    def _pay(self, name: str, hash_key: str, size: int, is_consistent: object) -> None:
        """A page is paid for as it is read, what the filter drops too."""
        self.calls[f"Query {name}"] += 1
        units = max(1, math.ceil(size / 4096)) * (1.0 if is_consistent else 0.5)
        with self._spending("Query", name):
            place = place_of(hash_key, "")
            self.tables[name].partitions.read(place, units, self._clock.now())

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
        if is_fresh or self._rng.random() >= self._stale_share:
            return row.item
        return row.before

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
            raise _error("ConditionalCheckFailedException", operation, options, before)
        hash_, sort = self._key(table, key)
        table.rows[hash_][sort] = _Stored(after, before, self._clock.now(), size)
        return _answer(options, before or {}, after or {})

    @contextmanager
    def _spending(self, operation: str, name: str) -> Iterator[None]:
        try:
            yield
        except ThrottledError as error:
            self.throttled[f"{operation} {name}"] += 1
            raise _error("ProvisionedThroughputExceededException", operation) from error


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


@dataclass(slots=True)
class _Pages:
    pages: Callable[..., Iterator[Item]]

    def paginate(self, **options: Any) -> Iterator[Item]:
        """One after the other."""
        return self.pages(**options)


_ERRORS = {
    "ConditionalCheckFailedException": "The conditional request failed",
    "ProvisionedThroughputExceededException": "Throughput exceeds the current capacity",
}


def _error(
    code: str,
    operation: str,
    options: Mapping[str, Any] | None = None,
    item: Item | None = None,
    message: str = "",
) -> ClientError:
    answer: Item = {"Error": {"Code": code, "Message": message or _ERRORS[code]}}
    if item and (options or {}).get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
        answer["Item"] = item
    return ClientError(cast(Any, answer), operation)


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
        raise _error(
            "ValidationException", "", message="Item size has exceeded the maximum allowed size"
        )


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
    if not value.is_finite():
        message = f"The parameter cannot be converted to a numeric value: {text}"
        raise _error("ValidationException", "", message=message)
    digits = "".join(map(str, value.as_tuple().digits)).strip("0")
    if len(digits) > MAX_DIGITS:
        message = "Attempting to store more than 38 significant digits in a Number"
        raise _error("ValidationException", "", message=message)
    if value and not MIN_EXPONENT <= value.adjusted() <= MAX_EXPONENT:
        kind = "overflow" if value.adjusted() > MAX_EXPONENT else "underflow"
        message = f"Number {kind}. Attempting to store a number with magnitude {kind}ing the range"
        raise _error("ValidationException", "", message=message)
