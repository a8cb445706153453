"""A cancelled transaction names a reason for each item; only a failed condition says "too late"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from chalicelib.adapters.aws.groups import DynamoGroupRepository
from chalicelib.adapters.aws.ledger import DynamoLedger
from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.ports.errors import ConflictError, StorageUnavailableError
from chalicelib.ports.ledger import FencedError

EVIDENCE = Path(__file__).parent.parent / "evidence" / "aws" / "cancelled_transactions.json"
RECORDS = json.loads(EVIDENCE.read_text())
TRANSIENT = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
"""Of the reasons that the service's reference lists, those that say nothing of the rows."""


class Body:
    """A response body as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Any:
        yield self._body


class AnsweringClient:
    """A DynamoDB client whose calls get these answers in turn, the last one again and again."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.calls: list[str] = []
        self._answers = list(answers)
        self.client: Any = boto3.client(
            "dynamodb",
            region_name="us-east-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
        )
        events: Any = self.client.meta.events
        events.register("before-send.dynamodb", self._answer)

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        target = request.headers["X-Amz-Target"]
        self.calls.append(target.decode() if isinstance(target, bytes) else target)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        status = 400 if "__type" in answer else 200
        headers: Any = {"content-type": "application/x-amz-json-1.0"}
        body: Any = Body(json.dumps(answer).encode())
        return AWSResponse(request.url, status, headers, body)


def cancelled(*codes: str) -> dict[str, Any]:
    """The recorded shape, with other reasons."""
    shape = RECORDS[0]["body"]
    message = f"{shape['Message'].partition('[')[0]}[{', '.join(codes)}]"
    reasons = [{"Code": code} for code in codes]
    return {"__type": shape["__type"], "CancellationReasons": reasons, "Message": message}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["source"])
def test_a_recorded_answer_is_a_lost_fence_only_by_a_failed_condition(
    record: dict[str, Any],
) -> None:
    dynamo = AnsweringClient(record["body"])
    reasons = [reason["Code"] for reason in record["body"]["CancellationReasons"]]
    expected = FencedError if "ConditionalCheckFailed" in reasons else StorageUnavailableError
    with pytest.raises(expected):
        DynamoLedger(dynamo.client, "t").write_blob(7, "memory", b"x")


@pytest.mark.parametrize("code", TRANSIENT)
def test_what_says_nothing_of_the_rows_is_no_lost_fence(code: str) -> None:
    dynamo = AnsweringClient(cancelled(code, "None"))
    with pytest.raises(StorageUnavailableError, match=code):
        DynamoLedger(dynamo.client, "t").write_blob(7, "memory", b"x")


def test_a_conflict_with_another_transaction_is_tried_again() -> None:
    """An owner's cap and the scaler's memory meet: both are written."""
    dynamo = AnsweringClient(cancelled("TransactionConflict", "None"), {})
    DynamoLedger(dynamo.client, "t").write_blob(7, "memory", b"x")
    assert dynamo.calls == ["DynamoDB_20120810.TransactWriteItems"] * 2


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        (("ConditionalCheckFailed", "None"), ConflictError),
        (("TransactionConflict", "None"), StorageUnavailableError),
    ],
)
def test_an_owners_change_is_told_apart_alike(codes: tuple[str, ...], expected: type) -> None:
    dynamo = AnsweringClient(cancelled(*codes))
    groups = DynamoGroupRepository(dynamo.client, "t")
    group = EndpointGroup(endpoint_id=1, name="shop", created_at=0.0, params=ScalingParams())
    with pytest.raises(expected):
        groups.add_group(group)
