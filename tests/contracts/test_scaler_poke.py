"""One suite for the ways to the scaler: the fake, and Lambda's Invoke API through boto3."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import boto3
import pytest

from chalicelib.adapters.scaler_poke import LambdaScalerPoke, SilentScalerPoke
from chalicelib.ports.errors import NotFoundError, PortError
from chalicelib.ports.marketplace import (
    MarketplaceUnavailableError,
    RateLimitedError,
    RefusedError,
)
from chalicelib.ports.scaler_poke import ScalerPoke, to_answer
from devstack.children import listen, url_of
from devstack.scaler_process import InvokeServer
from fakes.scaler_poke import FakeScalerPoke

Outcome = Mapping[str, object] | PortError
Answering = Callable[[str, Outcome], ScalerPoke]
"""Makes a poke whose scaler has one outcome for one question."""


@pytest.fixture(params=["fake", "lambda"])
def answering(request: pytest.FixtureRequest) -> Iterator[Answering]:
    if request.param == "fake":

        def fake(ask: str, outcome: Outcome) -> ScalerPoke:
            poke = FakeScalerPoke()
            poke.answers[ask] = outcome
            return poke

        yield fake
        return
    request.getfixturevalue("aws")
    outcomes: dict[str, Outcome] = {}

    def function(event: dict[str, Any], _context: Any) -> dict[str, object]:
        return to_answer(outcomes.get(str(event.get("ask")), PortError("nobody answers")))

    server = InvokeServer(listen(), function)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    client = boto3.client("lambda", region_name="us-east-1", endpoint_url=url_of(server.socket))

    def over_http(ask: str, outcome: Outcome) -> ScalerPoke:
        outcomes[ask] = outcome
        return LambdaScalerPoke(lambda: client, "scaler")

    yield over_http
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_question_gets_its_answer(answering: Answering) -> None:
    poke = answering("plan", {"hot_target": 1.5, "actions": [{"action": "rent"}]})
    answer = poke.ask({"ask": "plan", "endpoint_id": 100})
    assert answer == {"hot_target": 1.5, "actions": [{"action": "rent"}]}


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("no such instance"),
        MarketplaceUnavailableError("Vast is down"),
        RefusedError("no_such_ask", "it is gone"),
        RateLimitedError("search: next turn in 4.5 s", 4.5),
        PortError("else"),
    ],
)
def test_an_error_travels_as_what_it_is(answering: Answering, error: PortError) -> None:
    with pytest.raises(PortError) as raised:
        answering("offers", error).ask({"ask": "offers"})
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    if isinstance(error, RateLimitedError):
        assert isinstance(raised.value, RateLimitedError)
        assert raised.value.retry_after_s == 4.5


def test_a_question_that_nobody_answers_is_an_error(answering: Answering) -> None:
    with pytest.raises(PortError):
        answering("plan", {}).ask({"ask": "weather"})


def test_a_poke_neither_waits_nor_fails(answering: Answering) -> None:
    answering("plan", {}).poke(100, "waiting")


def test_a_poke_at_a_function_that_is_gone_is_only_logged(aws: None) -> None:
    socket = listen()
    address = url_of(socket)
    socket.close()
    client = boto3.client("lambda", region_name="us-east-1", endpoint_url=address)
    LambdaScalerPoke(lambda: client, "scaler").poke(100, "waiting")
    client.close()


def test_without_a_function_a_question_names_the_fix() -> None:
    SilentScalerPoke().poke(100, "waiting")
    with pytest.raises(PortError, match="BALLAST_SCALER_FUNCTION"):
        SilentScalerPoke().ask({"ask": "plan"})
