"""DynamoDB in trouble: a call ends in bounded time, and the port says that storage is away."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from chalicelib.adapters.aws.clients import (
    CONNECT_TIMEOUT_S,
    MAX_ATTEMPTS,
    READ_TIMEOUT_S,
    client_config,
)
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.worker_repository import Grant
from lab.bench.canned_aws import CannedDynamoDb


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, **_: object) -> Any:
        yield self._body


def refusal(status: int, code: str) -> AWSResponse:
    body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}"}).encode()
    return AWSResponse("https://dynamodb", status, {}, _Body(body))  # type: ignore[arg-type]


TROUBLES = {
    "throttled": refusal(400, "ProvisionedThroughputExceededException"),
    "throttled account": refusal(400, "RequestLimitExceeded"),
    "broken": refusal(500, "InternalServerError"),
    "silent": ReadTimeoutError(endpoint_url="https://dynamodb"),
    "away": ConnectTimeoutError(endpoint_url="https://dynamodb"),
    "unknown": EndpointConnectionError(endpoint_url="https://dynamodb"),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_a_reservation_in_trouble_is_tried_twice_and_given_up(trouble: object) -> None:
    sent: list[str] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        sent.append(request.url)
        if isinstance(trouble, Exception):
            raise trouble
        assert isinstance(trouble, AWSResponse)
        return trouble

    client = CannedDynamoDb(client_config()).client
    client.meta.events.register_first("before-send.dynamodb", answer)  # type: ignore[arg-type]
    with pytest.raises(StorageUnavailableError):
        DynamoWorkerRepository(client, "t").reserve(7, 1, Grant(cost=100.0))
    assert len(sent) == MAX_ATTEMPTS


def test_a_database_that_never_answers_costs_a_route_less_than_a_client_waits() -> None:
    """The first call that fails ends the route; peers give a route 4 seconds (protocol.md A.4)."""
    assert MAX_ATTEMPTS * READ_TIMEOUT_S + 1.0 <= 4.0  # with botocore's pause of a second at most
    assert CONNECT_TIMEOUT_S <= READ_TIMEOUT_S
