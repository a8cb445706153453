"""The real adapters under the app, as a container of the deployment builds them."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib import wiring
from chalicelib.services.keys import first_admin_key
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import event_of
from tests.conftest import KMS_ALIAS, TABLE_PREFIX

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient


@pytest.fixture
def app(
    dynamodb: DynamoDBClient, kms: KMSClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """The module app.py, wired to an account with tables and the wrapping key."""
    monkeypatch.setenv("BALLAST_TABLE_PREFIX", TABLE_PREFIX)
    monkeypatch.setenv("BALLAST_KMS_ALIAS", KMS_ALIAS)
    wiring.reset()
    yield importlib.import_module("app")
    wiring.reset()


def call(app: ModuleType, method: str, path: str, body: object, key: str) -> Any:
    """One request to the API handler; gives the parsed answer."""
    headers = {"Authorization": f"Bearer {key}"}
    event = event_of(method, path, json.dumps(body).encode(), headers)
    answer = app.app(event, LambdaContext("app", 29.0))
    assert answer["statusCode"] == 200, answer["body"]
    return json.loads(answer["body"])


def test_a_group_is_managed_and_asked_for_a_worker_over_real_adapters(app: ModuleType) -> None:
    ports = wiring.api_ports()
    key = first_admin_key(ports, ports.clock.now())
    assert key is not None
    created = call(app, "POST", "/api/v0/endptjobs/", {"endpoint_name": "llm"}, key)
    body = {"endpoint_name": "llm", "template_hash": "abc"}
    call(app, "POST", "/api/v0/autojobs/", body, key)
    row = call(app, "GET", f"/api/v0/endptjobs/{created['result']}/", {}, key)["result"]
    waiting = call(app, "POST", "/route/", {"endpoint": "llm", "cost": 10}, row["api_key"])
    assert "url" not in waiting
    assert waiting["request_idx"] > 0
    logs = call(app, "POST", "/get_endpoint_logs/", {"endpoint": "llm"}, key)
    assert "endpoint group llm created" in logs["info0"]
    (group,) = call(app, "GET", "/api/v0/status", {}, key)["groups"]
    assert group["endpoint_name"] == "llm"


def test_each_bundle_is_built_once_a_container(app: ModuleType) -> None:
    assert app is not None
    assert wiring.hot_ports() is wiring.hot_ports()
    assert wiring.api_ports() is wiring.api_ports()
    assert wiring.api_ports().workers is wiring.hot_ports().workers
    assert wiring.root_certificate() == wiring.root_certificate()
