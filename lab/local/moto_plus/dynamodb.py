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

_ONE_AT_A_TIME = threading.RLock()
_ITEM_ACTIONS = frozenset(
    {"Query", "Scan", "GetItem", "BatchGetItem", "UpdateItem", "PutItem", "DeleteItem"}
)


def correct() -> None:
    """Correct moto's DynamoDB in this process."""
    _serialise_requests()
    _honour_client_request_tokens()
    _speed_up_answers()
    _take_time_to_unprotect()
    _refuse_numbers()
    _answer_all_updated()


_WRITES = ("put_item", "update_item", "batch_write_item", "transact_write_items")


def _refuse_numbers() -> None:
    """Stock moto stores numbers of any size and precision, and "inf"."""

    def checked(stock: Any) -> Any:
        def write(self: Any) -> Any:
            for number in _numbers_in(self.body):
                try:
                    check_number(number)
                except ClientError as error:
                    text = error.response["Error"]["Message"]
                    raise JsonRESTError("ValidationException", text) from error
            return stock(self)

        return write

    for name in _WRITES:
        setattr(DynamoHandler, name, checked(getattr(DynamoHandler, name)))


def _numbers_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if set(value) == {"N"} and isinstance(value["N"], str):
            yield value["N"]
            return
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _numbers_in(one)


def _answer_all_updated() -> None:
    """Stock moto leaves out of UPDATED_NEW what was set to the value that it had."""
    stock_update_item = DynamoHandler.update_item

    def update_item(self: Any) -> Any:
        answer = stock_update_item(self)
        if self.body.get("ReturnValues") != "UPDATED_NEW":
            return answer
        names = tuple(sorted(self.body.get("ExpressionAttributeNames", {}).items()))
        item = self.dynamodb_backend.get_item(self.body["TableName"], self.body["Key"])
        has = item.to_json()["Attributes"]
        updated = [name for _, name, _ in update(self.body["UpdateExpression"], names)]
        answer.result["Attributes"] = {name: has[name] for name in updated if name in has}
        return answer

    DynamoHandler.update_item = update_item


def _take_time_to_unprotect() -> None:
    """A table whose protection changes is UPDATING, and refuses to be deleted meanwhile."""
    stock_update, stock_delete = DynamoDBBackend.update_table, DynamoDBBackend.delete_table
    stock_describe = DynamoDBBackend.describe_table

    def update_table(self: Any, name: str, *given: Any, **changes: Any) -> Any:
        table = stock_update(self, name, *given, **changes)
        vars(table)["looks_while_updating"] = 1
        return table

    def describe_table(self: Any, name: str) -> Any:
        described = stock_describe(self, name)
        table = vars(self.get_table(name))
        if table.get("looks_while_updating", -1) >= 0:
            table["looks_while_updating"] -= 1
            if table["looks_while_updating"] >= 0:
                described["Table"]["TableStatus"] = "UPDATING"
        return described

    def delete_table(self: Any, name: str) -> Any:
        if name in self.tables and vars(self.tables[name]).get("looks_while_updating", -1) >= 0:
            text = f"Attempt to change a resource which is still in use: {name} is being updated"
            raise JsonRESTError("ResourceInUseException", text)
        if name in self.tables and self.tables[name].deletion_protection_enabled:
            raise JsonRESTError(
                "ValidationException",
                "Resource cannot be deleted as it is currently protected against deletion. "
                "Disable deletion protection first.",
            )
        return stock_delete(self, name)

    DynamoDBBackend.update_table = update_table
    DynamoDBBackend.describe_table = describe_table
    DynamoDBBackend.delete_table = delete_table


def _serialise_requests() -> None:
    """Stock moto reads, computes and writes without a lock, so threads lose each other's ADDs."""
    stock_call_action = DynamoHandler.call_action

    def call_action(self: Any) -> Any:
        with _ONE_AT_A_TIME:
            return stock_call_action(self)

    DynamoHandler.call_action = call_action


def _honour_client_request_tokens() -> None:
    """Stock moto applies a repeated TransactWriteItems twice; AWS remembers its token."""
    stock_transact_write_items = DynamoHandler.transact_write_items

    def transact_write_items(self: Any) -> Any:
        token = self.body.get("ClientRequestToken")
        if not token:
            return stock_transact_write_items(self)
        # Kept in the backend, whose `reset` between tests forgets it.
        done: dict[str, str] = vars(self.dynamodb_backend).setdefault("transactions_done", {})
        request = json.dumps(self.body["TransactItems"], sort_keys=True, default=_jsonable)
        if token not in done:
            answer = stock_transact_write_items(self)
            done[token] = request
            return answer
        if done[token] != request:
            raise JsonRESTError("IdempotentParameterMismatchException", "token was used before")
        return ActionResult({})

    DynamoHandler.transact_write_items = transact_write_items


def _speed_up_answers() -> None:
    """Stock moto walks the service model for every value of every item, about 1 ms an item."""
    stock_serialized = DynamoHandler.serialized

    def serialized(self: Any, answer: Any) -> Any:
        is_item = self._get_action() in _ITEM_ACTIONS and isinstance(answer.result, dict)
        if not is_item:
            return stock_serialized(self, answer)
        shown = {name: value for name, value in answer.result.items() if value is not None}
        headers = {"Content-Type": "application/x-amz-json-1.0", **self.response_headers}
        return 200, headers, json.dumps(shown, default=_jsonable)

    DynamoHandler.serialized = serialized


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
