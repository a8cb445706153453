"""How the account and the intents look as DynamoDB items: one attribute per field, by its type.

An attribute that this code does not know is ignored and a missing one takes its default, so that
older and newer code can read each other's items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from chalicelib.core.account import Account
from chalicelib.core.intents import KEPT_AFTER_SETTLED_S, IntentState, RentIntent

Item = dict[str, Any]


def account_to_item(account: Account) -> Item:
    """All fields; sums by group as maps of numbers."""
    return _to_item(account)


def account_from_item(item: Mapping[str, Any]) -> Account:
    """The inverse of `account_to_item`."""
    values = _from_item(item, {field.name: field.type for field in fields(Account)})
    return Account(**values)


def intent_to_item(intent: RentIntent) -> Item:
    """All fields that are set; a settled intent expires by the table's TTL."""
    item = _to_item(intent)
    if intent.settled_at is not None:
        item["expires_at"] = {"N": str(int(intent.settled_at + KEPT_AFTER_SETTLED_S))}
    return item


def intent_from_item(item: Mapping[str, Any]) -> RentIntent:
    """The inverse of `intent_to_item`."""
    values = _from_item(item, {field.name: field.type for field in fields(RentIntent)})
    return RentIntent(**{**values, "state": IntentState(values["state"])})


def _to_item(value: Account | RentIntent) -> Item:
    item = {}
    for field in fields(value):
        content = getattr(value, field.name)
        if content is not None:
            item[field.name] = _attribute(content)
    return item


def _attribute(content: object) -> Item:
    if isinstance(content, bool):
        return {"BOOL": content}
    if isinstance(content, int | float):
        return {"N": repr(content)}
    if isinstance(content, Mapping):
        return {"M": {str(key): _attribute(value) for key, value in content.items()}}
    return {"S": str(content)}


def _from_item(item: Mapping[str, Any], types: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _content(attribute, str(types[name]))
        for name, attribute in item.items()
        if name in types
    }


def _content(attribute: Mapping[str, Any], type_name: str) -> object:
    if "BOOL" in attribute:
        return bool(attribute["BOOL"])
    if "N" in attribute:
        return int(attribute["N"]) if type_name.startswith("int") else float(attribute["N"])
    if "M" in attribute:
        inner = type_name.removeprefix("Mapping[").removesuffix("]").split(", ")
        key_type = int if inner[0] == "int" else str
        return {key_type(key): _content(value, inner[1]) for key, value in attribute["M"].items()}
    return str(attribute["S"])
