"""Canaries: what must not be seen is planted everywhere, and looked for everywhere."""

from __future__ import annotations

import logging

import pytest

from chalicelib.services.keys import endpoint_key
from tests.api.over_fakes import Api
from tests.api.test_auth import filled
from tests.api.test_malformed_input import all_routes

CANARY = "canary-of-a-secret"


def everything_written(api: Api, caplog: pytest.LogCaptureFixture) -> str:
    """All that was logged or stored, as text."""
    stored = (api.groups.groups, api.groups.autogroups, api.keys.rows, api.events.events)
    return f"{caplog.text} {stored!r} {api.series.minutes!r}"


def test_no_key_reaches_a_log_a_table_or_an_error(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint_id = api.create_endpoint()
    api.create_autogroup(endpoint_id)
    created = api.call("POST", "/api/v0/keys/", {"name": "x", "verbs": ["read"]}).json["key"]
    own = endpoint_key(api.secrets, endpoint_id, 1)
    answers = [
        api.call(
            method, filled(resource, endpoint_id), {"id": endpoint_id, "api_key": key}, key=key
        )
        for method, resource in all_routes()
        for key in (created, own, api.key)
        if not (resource.startswith("/api/v0/endptjobs") and method == "DELETE")
    ]
    refusals = " ".join(answer.text for answer in answers if answer.status >= 400)
    for key in (created, own, api.key):
        mac = key.rsplit(".", 1)[1]
        assert mac not in everything_written(api, caplog)
        assert mac not in refusals


def test_what_a_client_sends_beside_a_request_is_kept_nowhere(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """The data path passes us by; what comes along all the same is not kept (ARCHITECTURE.md)."""
    caplog.set_level(logging.DEBUG)
    endpoint_id = api.create_endpoint()
    extra = {"prompt": CANARY, "payload": {"inputs": CANARY}, "docker_login_pass": CANARY}
    for method, resource in all_routes():
        body = {"id": endpoint_id, "endpoint": "llm", "endpoint_name": "llm", **extra}
        answer = api.call(method, filled(resource, endpoint_id), body)
        assert CANARY not in answer.text
    assert CANARY not in everything_written(api, caplog)


def test_a_planted_canary_is_found(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("ballast").error("planted", extra={"value": CANARY})
    api.create_endpoint(f"named {CANARY}")
    assert CANARY in everything_written(api, caplog)


def test_an_unforeseen_failure_is_logged_and_tells_nothing(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.groups.problem = RuntimeError(CANARY)
    answer = api.call("GET", "/api/v0/endptjobs/")
    assert (answer.status, answer.json["error"]) == (500, "internal_error")
    assert CANARY not in answer.text
    assert "request_failed" in caplog.text
