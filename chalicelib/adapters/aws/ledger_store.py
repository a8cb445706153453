"""How the account and the intents look as DynamoDB items: one attribute per field, by its type.

An attribute that this code does not know is kept as it is. What cannot be read whole is foreign:
nothing is guessed where money hangs on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.aws.clients import storage_errors
from chalicelib.core.codec import names_of, readable, to_plain
from chalicelib.core.fleet.intents import (
    KEPT_AFTER_SETTLED_S,
    IntentState,
    RentIntent,
)
from chalicelib.core.money.account import Account
from chalicelib.ports.errors import ConflictError, StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]
_KEYS = frozenset({"account", "item", "expires_at", "gpu_type"})
_ADDED_LATER = frozenset({"n_lanes", "before_jump"})
"""Fields of the account that 0.2.0 did not write: where they are missing, the default is right."""
_DISPENSABLE = frozenset({"before_jump"})
"""What may be lost: without it the larger of two sums counts."""
_UNREADABLE_MICROUSD = 10_000_000
"""What a rental whose price cannot be read counts as, per hour: five times the dearest offer of the
recorded search in tests/evidence/vast."""


def account_to_item(account: Account) -> Item:
    """All fields, sums by group as maps of numbers; and what another version wrote beside."""
    return _to_item(account)


def account_from_item(item: Mapping[str, Any]) -> Account:
    """The inverse of `account_to_item`.

    One that lacks what this version needs, or holds it in another type, is foreign: a default
    instead would be a cap, a spend or a brake that nobody set.
    """
    values, unreadable = readable(Account, _plain(item))
    unreadable -= _DISPENSABLE
    missing = names_of(Account) - values.keys() - _ADDED_LATER
    unknown = _unknown(item, Account)
    return Account(**values, unknown=unknown, is_foreign=bool(unreadable or missing))


def intent_to_item(intent: RentIntent) -> Item:
    """All fields that are set; a settled intent expires by the table's TTL."""
    item = _to_item(intent)
    item["gpu_type"] = {"S": intent.gpu_type}  # 0.2.0 of before reads no other
    if intent.settled_at is not None:
        item["expires_at"] = {"N": str(int(intent.settled_at + KEPT_AFTER_SETTLED_S))}
    return item


def intent_from_item(item: Mapping[str, Any]) -> RentIntent:
    """The inverse of `intent_to_item`; what cannot be read whole is FOREIGN: it counts, no more."""
    values, unreadable = readable(RentIntent, {**_gpus(item), **_plain(item)})
    missing = _INTENT_NEEDS.keys() - values.keys()
    state = IntentState.FOREIGN if unreadable or missing else values["state"]
    token = str(item["item"]["S"]).partition("#")[2] if "item" in item else ""
    needed = {**_INTENT_NEEDS, "token": token}
    return RentIntent(**{**needed, **values, "state": state, "unknown": _unknown(item, RentIntent)})


def _gpus(item: Mapping[str, Any]) -> dict[str, object]:
    """Name and number of GPUs where a version before wrote them as one text, '2x RTX 4090'."""
    n_gpus, _, name = str(item.get("gpu_type", {}).get("S", "")).partition("x ")
    return {"gpu_name": name, "num_gpus": int(n_gpus)} if name and n_gpus.isdigit() else {}


_INTENT_NEEDS: Mapping[str, object] = {
    "token": "",
    "endpoint_id": 0,
    "autogroup_id": 0,
    "state": "",
    "planned_at": 0.0,
    "offer_id": 0,
    "machine_id": 0,
    "gpu_name": "",
    "num_gpus": 1,
    "usd_per_hour": _UNREADABLE_MICROUSD / 1e6,
    "reserved_microusd_per_hour": _UNREADABLE_MICROUSD,
}
"""What every rental has, and what it counts as where another version's cannot be read."""


def _to_item(value: Account | RentIntent) -> Item:
    plain = to_plain(replace(value, unknown={}))
    own = {name: _attribute(one) for name, one in plain.items() if one is not None}
    return {**value.unknown, **own}  # another version's, as it wrote them


def _attribute(content: object) -> Item:
    if isinstance(content, bool):
        return {"BOOL": content}
    if isinstance(content, int | float):
        return {"N": repr(content)}
    if is_dataclass(content):
        return _attribute(to_plain(content))
    if isinstance(content, Mapping):
        return {"M": {str(key): _attribute(value) for key, value in content.items()}}
    return {"S": str(content)}


def _unknown(item: Mapping[str, Any], kind: type[Account] | type[RentIntent]) -> Item:
    """Attributes of another version: they survive a write by this one."""
    names = names_of(kind) | _KEYS
    return {name: attribute for name, attribute in item.items() if name not in names}


def _plain(item: Mapping[str, Any]) -> dict[str, object]:
    return {name: _content(attribute) for name, attribute in item.items()}


def _content(attribute: Mapping[str, Any]) -> object:
    """A value without its DynamoDB type; one of a type that we never write stays as it is."""
    match attribute:
        case {"BOOL": flag}:
            return bool(flag)
        case {"N": text}:
            return int(text) if text.lstrip("-").isdigit() else float(text)
        case {"M": items}:
            return {key: _content(value) for key, value in items.items()}
        case {"S": text}:
            return str(text)
        case _:
            return attribute


# Raw access to the ledger's table: every error of DynamoDB becomes the port's own.

_TRANSACT_TRIES = 3
_ACCOUNT_KEY = "main"  # one Vast account per deployment


class LedgerTable:
    """One account's items. Every method raises StorageUnavailableError when DynamoDB fails."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self.name = name
        self._client = client

    def put_if(self, put: Item) -> bool:
        """Whether the condition held and the item was written."""
        try:
            with storage_errors("ledger"):
                self._client.put_item(**put)
        except ConflictError:
            return False
        return True

    def transact(self, items: Sequence[Any]) -> bool:
        """Whether the conditions held. The token makes a repeat after a lost answer harmless.

        What was cancelled because another transaction held a row is tried again: it says nothing
        of the conditions.
        """
        text = json.dumps(items, default=repr, sort_keys=True).encode()
        token = blake2b(text, digest_size=16).hexdigest()
        for is_last in (False,) * (_TRANSACT_TRIES - 1) + (True,):
            try:
                with storage_errors("ledger"):
                    self._client.transact_write_items(TransactItems=items, ClientRequestToken=token)
            except ConflictError:
                return False
            except StorageUnavailableError as error:
                if is_last or "TransactionConflict" not in str(error):
                    raise
            else:
                return True
        raise AssertionError("the last try returns or raises")

    def get(self, item: str) -> Item | None:
        """One item, strongly consistent."""
        with storage_errors("ledger"):
            answer = self._client.get_item(
                TableName=self.name, Key=key_of(item), ConsistentRead=True
            )
        return answer.get("Item")

    def query(self, prefix: str) -> list[Item]:
        """All items whose range key begins so, in order, strongly consistent."""
        items: list[Item] = []
        start: Item = {}
        while True:
            with storage_errors("ledger"):
                page = self._client.query(
                    TableName=self.name,
                    ConsistentRead=True,
                    KeyConditionExpression="account = :account AND begins_with(#item, :prefix)",
                    ExpressionAttributeNames={"#item": "item"},
                    ExpressionAttributeValues={
                        ":account": {"S": _ACCOUNT_KEY},
                        ":prefix": {"S": prefix},
                    },
                    **start,
                )
            items += page["Items"]
            if "LastEvaluatedKey" not in page:
                return items
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def key_of(item: str) -> Item:
    """The key of an item of this account."""
    return {"account": {"S": _ACCOUNT_KEY}, "item": {"S": item}}
