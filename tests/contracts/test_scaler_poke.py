"""One suite for the ways to the scaler: the fake, and Lambda's Invoke API through boto3."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import boto3
import pytest

from chalicelib.adapters.aws.scaler_poke import LambdaScalerPoke, SilentScalerPoke
from chalicelib.ports.errors import NotFoundError, PortError
from chalicelib.ports.marketplace import (
    MarketplaceUnavailableError,
    RateLimitedError,
    RefusedError,
)
from chalicelib.ports.scaler_poke import ScalerPoke, to_answer
from fakes.ports.scaler_poke import FakeScalerPoke
from lab.local.processes.children import listen, url_of
from lab.local.system.owner import wait_until
from lab.local.system.scaler_process import InvokeServer

Outcome = Mapping[str, object] | PortError
Pokes = list[tuple[object, object]]


class Scaler(Protocol):
    """A scaler behind some way to it: what it answers, and which pokes came."""

    def answering(self, ask: str, outcome: Outcome) -> ScalerPoke:
        """A poke whose scaler has one outcome for one question."""

    def pokes(self) -> Pokes:
        """(endpoint id, reason) of each poke that came."""


class RememberingScaler:
    def __init__(self) -> None:
        self.poke = FakeScalerPoke()

    def answering(self, ask: str, outcome: Outcome) -> ScalerPoke:
        self.poke.answers[ask] = outcome
        return self.poke

    def pokes(self) -> Pokes:
        return list(self.poke.pokes)


class InvokedScaler:
    def __init__(self) -> None:
        self.server = InvokeServer(listen(), self._function)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        url = url_of(self.server.socket)
        self.client = boto3.client("lambda", region_name="us-east-1", endpoint_url=url)
        self._outcomes: dict[str, Outcome] = {}
        self._pokes: Pokes = []

    def answering(self, ask: str, outcome: Outcome) -> ScalerPoke:
        self._outcomes[ask] = outcome
        return LambdaScalerPoke(lambda: self.client, "scaler")

    def pokes(self) -> Pokes:
        return list(self._pokes)

    def close(self) -> None:
        self.client.close()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _function(self, event: dict[str, Any], _context: Any) -> dict[str, object]:
        if "poke" in event:
            self._pokes.append((event["poke"], event["reason"]))
            return {}
        return to_answer(self._outcomes.get(str(event.get("ask")), PortError("nobody answers")))


@pytest.fixture(params=["fake", "lambda"])
def scaler(request: pytest.FixtureRequest) -> Iterator[Scaler]:
    if request.param == "fake":
        yield RememberingScaler()
        return
    request.getfixturevalue("aws")
    invoked = InvokedScaler()
    yield invoked
    invoked.close()


def test_a_question_gets_its_answer(scaler: Scaler) -> None:
    poke = scaler.answering("plan", {"hot_target": 1.5, "actions": [{"action": "rent"}]})
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
def test_an_error_travels_as_what_it_is(scaler: Scaler, error: PortError) -> None:
    with pytest.raises(PortError) as raised:
        scaler.answering("offers", error).ask({"ask": "offers"})
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    if isinstance(error, RateLimitedError):
        assert isinstance(raised.value, RateLimitedError)
        assert raised.value.retry_after_s == 4.5


def test_a_question_that_nobody_answers_is_an_error(scaler: Scaler) -> None:
    with pytest.raises(PortError):
        scaler.answering("plan", {}).ask({"ask": "weather"})


def test_a_poke_arrives_and_its_round_is_not_waited_for(scaler: Scaler) -> None:
    scaler.answering("plan", {}).poke(100, "waiting")
    assert wait_until(
        "the poke", lambda: scaler.pokes() == [(100, "waiting")], 60.0, shown=scaler.pokes
    )


def test_a_poke_at_a_function_that_is_gone_is_only_logged(
    aws: None, caplog: pytest.LogCaptureFixture
) -> None:
    socket = listen()
    address = url_of(socket)
    socket.close()
    client = boto3.client("lambda", region_name="us-east-1", endpoint_url=address)
    LambdaScalerPoke(lambda: client, "scaler").poke(100, "waiting")
    client.close()
    assert "poke_failed" in caplog.text


def test_without_a_function_pokes_are_silent_and_a_question_names_the_fix(
    caplog: pytest.LogCaptureFixture,
) -> None:
    SilentScalerPoke().poke(100, "waiting")
    assert not caplog.records
    with pytest.raises(PortError, match="BALLAST_SCALER_FUNCTION"):
        SilentScalerPoke().ask({"ask": "plan"})
