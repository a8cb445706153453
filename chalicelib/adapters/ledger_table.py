"""Raw access to the ledger's table: every error of DynamoDB becomes the port's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.ports.errors import StorageUnavailableError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_ACCOUNT_KEY = "main"  # one Vast account per deployment

Item = dict[str, Any]


class LedgerTable:
    """One account's items. Every method raises StorageUnavailableError when DynamoDB fails."""

    def __init__(self, client: DynamoDBClient, name: str) -> None:
        self.name = name
        self._client = client

    def put_if(self, put: Item) -> bool:
        """Whether the condition held and the item was written."""
        try:
            self._client.put_item(**put)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise _unavailable(error) from error
            return False
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return True

    def transact(self, items: Sequence[Any]) -> bool:
        """Whether the conditions held. The token makes a repeat after a lost answer harmless."""
        text = json.dumps(items, default=repr, sort_keys=True).encode()
        try:
            self._client.transact_write_items(
                TransactItems=items, ClientRequestToken=blake2b(text, digest_size=16).hexdigest()
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise _unavailable(error) from error
            return False
        except BotoCoreError as error:
            raise _unavailable(error) from error
        return True

    def get(self, item: str) -> Item | None:
        """One item, strongly consistent."""
        try:
            answer = self._client.get_item(
                TableName=self.name, Key=key_of(item), ConsistentRead=True
            )
        except (ClientError, BotoCoreError) as error:
            raise _unavailable(error) from error
        return answer.get("Item")

    def query(self, prefix: str) -> list[Item]:
        """All items whose range key begins so, in order, strongly consistent."""
        items: list[Item] = []
        start: Item = {}
        while True:
            try:
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
            except (ClientError, BotoCoreError) as error:
                raise _unavailable(error) from error
            items += page["Items"]
            if "LastEvaluatedKey" not in page:
                return items
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def key_of(item: str) -> Item:
    """The key of an item of this account."""
    return {"account": {"S": _ACCOUNT_KEY}, "item": {"S": item}}


def _unavailable(error: Exception) -> StorageUnavailableError:
    return StorageUnavailableError(f"ledger: {error}")
