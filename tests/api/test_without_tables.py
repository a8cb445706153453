"""`chalice deploy` alone: functions without tables say so, each with the command that mends it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from chalicelib import wiring
from chalicelib.adapters.aws.tables import create_tables
from chalicelib.api.entry import BallastApp
from chalicelib.api.routes.blueprints import Wired, blueprints_for
from chalicelib.api.routes.receivers import answer_topic
from chalicelib.api.routes.scaler import answer_event
from chalicelib.core.model.caller_key import VERBS, format_key, make_key_id
from chalicelib.ports.errors import NotDeployedError
from chalicelib.services.keys import worker_token
from fakes.ports.secret_box import FakeSecretBox
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import event_of

SENTENCE = (
    "stage trial has no tables: `python -m infra.deploy core --stage trial` makes them and shows "
    "the admin key once (were they lost? docs/runbook.md#table-loss)"
)
KEY_ID = make_key_id(None, VERBS, "0" * 16)
KEY = format_key(KEY_ID, 1, FakeSecretBox().prove(f"{KEY_ID}.1"))


@pytest.fixture(autouse=True)
def account(aws: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("BALLAST_STAGE", "trial")
    for name in ("BALLAST_TABLE_PREFIX", "BALLAST_KMS_ALIAS"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    wiring.reset()
    yield
    wiring.reset()


def app(role: str) -> BallastApp:
    made = BallastApp(f"ballast-{role}")
    wired = Wired(
        hot_ports=wiring.hot_ports,
        api_ports=wiring.api_ports,
        root_certificate=lambda: "",
        deployment={"stage": "trial"},
    )
    for blueprint in blueprints_for(role, wired):
        made.register_blueprint(blueprint)
    return made


def send(function: BallastApp, method: str, path: str, body: object = None, token: str = "") -> Any:
    raw = json.dumps(body).encode() if body is not None else b""
    key = {"Authorization": f"Bearer {token}"} if token else {}
    reply = function(event_of(method, path, raw, key), LambdaContext("f", 29.0))
    return reply["statusCode"], json.loads(reply["body"])


def test_management_says_so_on_health_and_doctor_and_in_its_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    function = app("")
    for path, token in (("/health/", ""), ("/api/v0/doctor/", KEY), ("/api/v0/status/", KEY)):
        status, answer = send(function, "GET", path, token=token)
        assert (status, answer["error"], answer["msg"]) == (503, "not_deployed", SENTENCE), path
    assert caplog.messages.count(SENTENCE) == 3
    # As soon as the tables are there, without another deployment of the functions.
    create_tables(boto3.client("dynamodb", region_name="us-east-1"), "ballast-trial")
    assert send(function, "GET", "/health/")[0] == 200


def test_the_hot_and_the_reports_function_say_so_in_their_logs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    status, answer = send(app("hot"), "POST", "/route/", {"endpoint": "llm", "cost": 1}, KEY)
    assert (status, "url" in answer) == (200, False)  # clients wait, whatever the trouble
    assert SENTENCE in [getattr(record, "problem", "") for record in caplog.records]
    assert send(app("hot"), "GET", "/pubkey/")[1]["msg"] == SENTENCE
    caplog.clear()
    token = worker_token(FakeSecretBox(), 1, "a" * 24)
    assert send(app("reports"), "POST", "/worker_status/", {"id": 1, "mtoken": token})[0] == 503
    assert caplog.messages == [SENTENCE]


def test_the_scaler_says_so_in_a_line_a_minute_and_to_who_asks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = LambdaContext("scaler", 20.0)
    with caplog.at_level(logging.ERROR):
        assert answer_event({}, context, wiring.scaler_ports) == {}
    (line,) = caplog.records
    assert (line.getMessage(), line.exc_info) == (SENTENCE, None)
    error: Any = answer_event({"ask": "balance"}, context, wiring.scaler_ports)["error"]
    assert error["message"] == SENTENCE


def test_the_notifier_fails_with_it() -> None:
    record = {"Sns": {"Subject": "s", "Message": "m"}}
    with pytest.raises(NotDeployedError, match=re.escape(SENTENCE)):
        answer_topic({"Records": [record]}, wiring.notifier_ports)
