"""Poking and asking the scaler function, and how its answers and errors travel."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from chalicelib.adapters.aws.scaler_poke import LambdaScalerPoke
from chalicelib.ports.errors import NotFoundError, PortError
from chalicelib.ports.marketplace import (
    MarketplaceError,
    MarketplaceUnavailableError,
    RateLimitedError,
    RefusedError,
)
from chalicelib.ports.scaler_poke import from_answer, to_answer


class FakeLambda:
    """Lambda's Invoke as far as it is used; `problem` is raised, else `reply` comes back."""

    def __init__(self) -> None:
        self.invocations: list[Mapping[str, Any]] = []
        self.reply: object = {}
        self.function_error = ""
        self.problem: Exception | None = None

    def invoke(self, **arguments: Any) -> Mapping[str, Any]:
        """Remember the call."""
        self.invocations.append(arguments)
        if self.problem:
            raise self.problem
        extra = {"FunctionError": self.function_error} if self.function_error else {}
        return {"Payload": io.BytesIO(json.dumps(self.reply).encode()), **extra}


@pytest.fixture
def client() -> FakeLambda:
    return FakeLambda()


def test_a_question_goes_on_with_the_trace(client: FakeLambda) -> None:
    client.reply = to_answer({})
    LambdaScalerPoke(lambda: client, "scaler", lambda: "00-a-b-01").ask({"ask": "balance"})
    payload = json.loads(client.invocations[0]["Payload"])
    assert payload == {"ask": "balance", "traceparent": "00-a-b-01"}


@pytest.fixture
def poke(client: FakeLambda) -> LambdaScalerPoke:
    return LambdaScalerPoke(lambda: client, "ballast-test-scaler")


def test_a_poke_does_not_wait(client: FakeLambda, poke: LambdaScalerPoke) -> None:
    poke.poke(100, "waiting")
    (call,) = client.invocations
    assert (call["FunctionName"], call["InvocationType"]) == ("ballast-test-scaler", "Event")
    assert json.loads(call["Payload"]) == {"poke": 100, "reason": "waiting"}


def test_a_poke_never_fails_since_the_schedule_makes_up_for_it(
    client: FakeLambda, poke: LambdaScalerPoke
) -> None:
    client.problem = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    poke.poke(100, "waiting")
    assert len(client.invocations) == 1  # tried once, and not again


def test_an_answer_comes_back(client: FakeLambda, poke: LambdaScalerPoke) -> None:
    client.reply = to_answer({"credit_usd": 12.5})
    assert poke.ask({"ask": "balance"}) == {"credit_usd": 12.5}
    assert json.loads(client.invocations[0]["Payload"]) == {"ask": "balance"}


def test_a_scaler_that_fails_or_is_out_of_reach_is_told_apart(
    client: FakeLambda, poke: LambdaScalerPoke
) -> None:
    client.function_error = "Unhandled"
    with pytest.raises(PortError, match="failed to answer"):
        poke.ask({"ask": "balance"})
    client.problem = EndpointConnectionError(endpoint_url="http://127.0.0.1:9")
    with pytest.raises(PortError, match="cannot be reached"):
        poke.ask({"ask": "balance"})


@pytest.mark.parametrize(
    "error",
    [
        RefusedError("cannot_launch", "no template"),
        RateLimitedError("too often", 2.5),
        MarketplaceUnavailableError("time-out"),
        MarketplaceError("odd"),
        NotFoundError("no group"),
        PortError("no such question"),
    ],
)
def test_errors_travel_with_their_kind(error: PortError) -> None:
    with pytest.raises(type(error)) as caught:
        from_answer(json.loads(json.dumps(to_answer(error))))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


@pytest.mark.parametrize("reply", [None, [], {}, {"answer": 1}, {"error": "text"}, "text"])
def test_nonsense_is_no_answer(reply: object) -> None:
    with pytest.raises(PortError, match="no answer"):
        from_answer(reply)
