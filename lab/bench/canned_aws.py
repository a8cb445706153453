"""A DynamoDB client that is answered at once, inside the process: only the client's CPU is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
from botocore.awsrequest import AWSResponse

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class _Raw:
    """A response body as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Any:
        """The body in one piece."""
        yield self._body


class CannedDynamoDb:
    """Counts calls and answers UpdateItem as a grant; `n_granted` is the last reqnum."""

    def __init__(self, config: Any = None) -> None:
        """`config`: botocore's; None is a stock client."""
        self.n_granted = 0
        self.client: DynamoDBClient = boto3.client(
            "dynamodb",
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=config,
        )
        self.client.meta.events.register("before-send.dynamodb", self._answer)  # type: ignore[arg-type]

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        self.n_granted += 1
        new = {"reqnum": {"N": str(self.n_granted)}, "granted_load": {"N": str(self.n_granted)}}
        body = json.dumps({"Attributes": new}).encode()
        headers = {"content-type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 200, headers, _Raw(body))  # type: ignore[arg-type]
