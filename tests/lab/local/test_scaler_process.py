"""The local Invoke API answers boto3 as Lambda does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from lab.local.processes.children import listen, url_of
from lab.local.system.scaler_process import InvokeServer


class Function:
    """Stands for the scaler."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.may_go_on = threading.Event()

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, object]:
        self.events.append(event)
        if "fail" in event:
            raise ValueError(event["fail"])
        if "slow" in event:
            self.may_go_on.wait(60)
        return {"answer": event.get("ask"), "has_time": context.get_remaining_time_in_millis() > 0}


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def client(function: Function, aws: None) -> Iterator[Any]:
    """boto3's client of a running server."""
    server = InvokeServer(listen(), function)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    lambda_client = boto3.client(
        "lambda", region_name="us-east-1", endpoint_url=url_of(server.socket)
    )
    yield lambda_client
    lambda_client.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_question_is_answered(client: Any) -> None:
    answer = client.invoke(FunctionName="ballast-dev-scaler", Payload=b'{"ask": "plan"}')
    assert json.loads(answer["Payload"].read()) == {"answer": "plan", "has_time": True}
    assert "FunctionError" not in answer


def test_a_poke_is_not_waited_for(client: Any, function: Function) -> None:
    answer = client.invoke(
        FunctionName="ballast-dev-scaler", InvocationType="Event", Payload=b'{"slow": 1}'
    )
    assert answer["StatusCode"] == 202
    function.may_go_on.set()
    end = time.monotonic() + 30
    while not function.events:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_failure_is_told_to_the_caller(client: Any) -> None:
    answer = client.invoke(FunctionName="ballast-dev-scaler", Payload=b'{"fail": "no market"}')
    assert answer["FunctionError"] == "Unhandled"
    failure = json.loads(answer["Payload"].read())
    assert failure == {"errorType": "ValueError", "errorMessage": "no market"}
