"""DynamoDB: updates that are not lost, transactions that are idempotent, answers that are whole."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import ClientError
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.responses import DynamoHandler

from fakes.aws.dynamodb import check_number
from fakes.aws.expressions import update
from lab.local.moto_plus.correcting import instead_of

_ONE_AT_A_TIME = threading.RLock()
_ITEM_ACTIONS = frozenset(
    {"Query", "Scan", "GetItem", "BatchGetItem", "UpdateItem", "PutItem", "DeleteItem"}
)
_LOOKS_WHILE_UPDATING = 2  # the second look at a table finds it changed


@instead_of(DynamoHandler, "call_action")
def _serialise_requests(_self: Any, stock: Any) -> Any:
    """Stock moto reads, computes and writes without a lock, so threads lose each other's ADDs."""
    with _ONE_AT_A_TIME:
        return stock()


@instead_of(DynamoHandler, "transact_write_items")
def _honour_client_request_tokens(self: Any, stock: Any) -> Any:
    """Stock moto applies a repeated TransactWriteItems twice; AWS remembers its token."""
    if not (token := self.body.get("ClientRequestToken")):
        return stock()
    # Kept in the backend, whose `reset` between tests forgets it.
    done: dict[str, str] = vars(self.dynamodb_backend).setdefault("transactions_done", {})
    request = json.dumps(self.body["TransactItems"], sort_keys=True, default=_jsonable)
    if token not in done:
        answer = stock()
        done[token] = request
        return answer
    if done[token] != request:
        raise JsonRESTError("IdempotentParameterMismatchException", "token was used before")
    return ActionResult({})


@instead_of(DynamoHandler, "update_item")
def _answer_all_updated(self: Any, stock: Any) -> Any:
    """Stock moto leaves out of UPDATED_NEW what was set to the value that it had."""
    answer = stock()
    if self.body.get("ReturnValues") == "UPDATED_NEW":
        names = tuple(sorted(self.body.get("ExpressionAttributeNames", {}).items()))
        item = self.dynamodb_backend.get_item(self.body["TableName"], self.body["Key"])
        has = item.to_json()["Attributes"]
        updated = [name for _, name, _ in update(self.body["UpdateExpression"], names)]
        answer.result["Attributes"] = {name: has[name] for name in updated if name in has}
    return answer


@instead_of(DynamoHandler, "put_item", "update_item", "batch_write_item", "transact_write_items")
def _refuse_numbers(self: Any, stock: Any) -> Any:
    """Stock moto stores numbers of any size and precision, and "inf"."""
    try:
        for number in _numbers_in(self.body):
            check_number(number)
    except ClientError as error:
        text = error.response["Error"]["Message"]
        raise JsonRESTError("ValidationException", text) from error
    return stock()


def _numbers_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"N"} and isinstance(value["N"], str):
            yield value["N"]
            return
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _numbers_in(one)


@instead_of(DynamoDBBackend, "update_table")
def _update_table(_self: Any, stock: Any, *given: Any, **changes: Any) -> Any:
    """A table whose protection changes is UPDATING, and refuses to be deleted meanwhile."""
    table = stock(*given, **changes)
    vars(table)["looks_left"] = _LOOKS_WHILE_UPDATING
    return table


@instead_of(DynamoDBBackend, "describe_table")
def _describe_table(self: Any, stock: Any, name: str) -> Any:
    described, table = stock(name), vars(self.get_table(name))
    table["looks_left"] = max(0, table.get("looks_left", 0) - 1)
    if table["looks_left"]:
        described["Table"]["TableStatus"] = "UPDATING"
    return described


@instead_of(DynamoDBBackend, "delete_table")
def _delete_table(self: Any, stock: Any, name: str) -> Any:
    table = self.tables.get(name)
    if table is not None and vars(table).get("looks_left"):
        text = f"Attempt to change a resource which is still in use: {name} is being updated"
        raise JsonRESTError("ResourceInUseException", text)
    if table is not None and table.deletion_protection_enabled:
        text = "Resource cannot be deleted as it is currently protected against deletion. "
        raise JsonRESTError("ValidationException", text + "Disable deletion protection first.")
    return stock(name)


@instead_of(DynamoHandler, "serialized")
def _speed_up_answers(self: Any, stock: Any, answer: Any) -> Any:
    """Stock moto walks the service model for every value of every item, about 1 ms an item."""
    if self._get_action() not in _ITEM_ACTIONS or not isinstance(answer.result, dict):
        return stock(answer)
    shown = {name: value for name, value in answer.result.items() if value is not None}
    headers = {"Content-Type": "application/x-amz-json-1.0", **self.response_headers}
    return 200, headers, json.dumps(shown, default=_jsonable)


def _jsonable(value: Any) -> Any:
    """What DynamoDB's JSON holds for a value that `json` does not know.

    Raises:
        TypeError: for a value that moto does not put into items.
    """
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    for method in ("to_json", "to_regular_json"):
        if hasattr(value, method):
            return getattr(value, method)()
    raise TypeError(f"{type(value)} in an item")
