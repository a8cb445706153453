"""The hot routes over HTTP: forms of path, key and content, statuses, limits."""

from __future__ import annotations

import base64
import json

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.services.keys import endpoint_key, worker_token
from chalicelib.services.routing.views import publish_directory, rebuild_view
from fakes.bundles.hot_ports import make_worker
from tests.api.over_fakes import Api

BAD_BODIES = [
    b"",
    b"[]",
    b"{",
    b'"text"',
    b'{"endpoint": "llm", "cost": NaN}',
    b'{"endpoint": "llm", "cost": 1e999}',
    b'{"endpoint": "llm", "cost": -1}',
    b"\xff\xfe",
    b'{"x": "' + b"x" * 10_000_000 + b'"}',
    b"[" * 50_000,
]


@pytest.fixture
def endpoint_id(api: Api) -> int:
    """A group `llm` with one autogroup and a ready worker, id 31."""
    endpoint_id = api.create_endpoint("llm")
    autogroup_id = api.create_autogroup(endpoint_id)
    worker = make_worker(
        31, api.clock.now(), endpoint_id=endpoint_id, autogroup_id=autogroup_id, token="t31"
    )
    api.workers.rows[endpoint_id, 31] = worker
    publish_directory(api.ports)
    rebuild_view(api.ports, endpoint_id, api.clock.now())
    return endpoint_id


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"w:{token}".encode()).decode()}


@pytest.mark.parametrize("path", ["/route/", "/route", "//route/"])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_a_route_is_granted_in_every_form_of_path_and_content(
    api: Api, endpoint_id: int, path: str, content_type: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = api.call("POST", path, {"endpoint": "llm", "cost": 10}, headers=headers)
    assert answer.status == 200
    assert answer.json["url"] == api.workers.rows[endpoint_id, 31].url


@pytest.mark.parametrize("form", ["header", "body", "query"])
def test_the_key_is_taken_from_header_body_or_query(api: Api, endpoint_id: int, form: str) -> None:
    key = endpoint_key(api.secrets, endpoint_id, 1)
    body = {"endpoint": "llm"} | ({"api_key": key} if form == "body" else {})
    path = f"/route/?api_key={key}" if form == "query" else "/route/"
    answer = api.call("POST", path, body, key=key if form == "header" else None)
    assert (answer.status, "url" in answer.json) == (200, True)


@pytest.mark.parametrize("body", [{"endpoint": "none"}, {"endpoint": "llm", "api_key": "x"}])
def test_a_wrong_key_and_an_unknown_name_get_one_answer(
    api: Api, endpoint_id: int, body: dict[str, str]
) -> None:
    key = None if "api_key" in body else api.key
    answer = api.call("POST", "/route/", body, key=key)
    assert answer.status == 401
    assert "invalid api_key or endpoint NAME not found" in answer.json["error_msg"]
    assert {"success", "error", "msg", "error_msg"} <= set(answer.json)


@pytest.mark.parametrize("path", ["/route/", "/worker_status/", "/delete_requests/"])
@pytest.mark.parametrize("body", BAD_BODIES)
def test_bad_bodies_get_a_reason_and_change_nothing(
    api: Api, endpoint_id: int, path: str, body: bytes
) -> None:
    before = api.state()
    answer = api.call("POST", path, body)
    assert 400 <= answer.status < 500
    assert answer.json["msg"]
    assert api.state() == before


def test_trouble_behind_a_route_is_never_an_error(api: Api, endpoint_id: int) -> None:
    api.workers.failure = StorageUnavailableError("throttled")
    answer = api.call("POST", "/route/", {"endpoint": "llm", "request_idx": 0})
    assert answer.status == 200
    assert "url" not in answer.json
    assert answer.json["request_idx"]


def test_pubkey_is_plain_pem_for_everybody(api: Api, endpoint_id: int) -> None:
    answer = api.call("GET", "/pubkey/", key=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text == api.ports.signer.newest().public_pem


def test_an_instance_gets_its_own_key_after_a_rotation(api: Api, endpoint_id: int) -> None:
    old = api.ports.signer.newest()
    api.workers.update(endpoint_id, 31, {"key_id": old.key_id})
    new = api.ports.signer.create_key(api.clock.now())
    token = worker_token(api.secrets, endpoint_id, "t31")
    mine = api.call("GET", "/pubkey/", key=None, headers=basic(token))
    others = api.call("GET", "/pubkey/", key=None, headers=basic("junk"))
    assert (mine.text, others.text) == (old.public_pem, new.public_pem)


def test_a_crowd_of_workers_that_start_reads_the_group_once(api: Api, endpoint_id: int) -> None:
    key_id = api.ports.signer.newest().key_id
    for instance_id in (32, 33, 34):
        api.workers.add(
            make_worker(instance_id, api.clock.now(), endpoint_id=endpoint_id, key_id=key_id)
        )
    before = api.workers.calls["list"]
    for instance_id in (32, 33, 34, 32):
        row = api.workers.rows[endpoint_id, instance_id]
        token = worker_token(api.secrets, endpoint_id, row.token)
        assert api.call("GET", "/pubkey/", key=None, headers=basic(token)).status == 200
    assert api.workers.calls["list"] == before + 1


def test_pubkey_without_kms_says_so(api: Api, endpoint_id: int) -> None:
    api.ports.signer.failure = KeysUnavailableError("down")  # type: ignore[attr-defined]
    assert api.call("GET", "/pubkey/", key=None).status == 503


@pytest.mark.parametrize("form", ["mtoken", "basic"])
def test_a_report_is_taken_with_either_form_of_token(api: Api, endpoint_id: int, form: str) -> None:
    token = worker_token(api.secrets, endpoint_id, "t31")
    body = {"id": 31, "error_msg": "CUDA error"} | ({"mtoken": token} if form == "mtoken" else {})
    headers = basic(token) if form == "basic" else {}
    answer = api.call("POST", "/worker_status/", body, key=None, headers=headers)
    assert (answer.status, answer.json["now"]) == (200, api.clock.now())
    assert api.workers.rows[endpoint_id, 31].state is WorkerState.ERROR


def test_unknown_workers_are_answered_200_and_change_nothing(api: Api, endpoint_id: int) -> None:
    before = api.state()
    for body in ({"id": 31}, {"id": 99, "mtoken": "junk"}, {"id": "31", "error_msg": "x"}):
        answer = api.call("POST", "/worker_status/", body, key=None)
        assert (answer.status, answer.json) == (200, {})
    answer = api.call("POST", "/delete_requests/", {"worker_id": 31, "requests": []}, key=None)
    assert (answer.status, answer.json) == (200, {})
    assert api.state() == before


def test_no_answer_holds_a_key_or_token(api: Api, endpoint_id: int) -> None:
    token = worker_token(api.secrets, endpoint_id, "t31")
    answers = [
        api.call("POST", "/route/", {"endpoint": "llm"}),
        api.call("POST", "/route/", {"endpoint": "none"}),
        api.call("POST", "/worker_status/", {"id": 31, "mtoken": token}, key=None),
        api.call("POST", "/worker_status/", {"id": -1, "mtoken": token}, key=None),
    ]
    text = json.dumps([answer.text for answer in answers])
    assert token not in text
    assert api.key not in text


def test_a_load_is_told_by_its_parts_and_its_slowest(api: Api, endpoint_id: int) -> None:
    api.workers.update(
        endpoint_id, 31, {"state": WorkerState.MODEL_LOADING, "created_at": api.clock.now() - 90}
    )
    body = {
        "id": 31,
        "mtoken": worker_token(api.secrets, endpoint_id, "t31"),
        "ticket": "D",
        "boot_id": "00" * 8,
        "seq": 1,
        "max_perf": 50.0,
        "load_phases": {"download": 40.0, "weights": 10.0},
    }
    assert api.call("POST", "/worker_status/", body, key=None).status == 200
    log = api.call("POST", "/get_endpoint_logs/", {"id": endpoint_id, "tail": -1}).json["info1"]
    told = "90 s: pull 40 s, download 40 s, weights 10 s; the slowest: "
    assert f"worker 31: model_loading -> ready after {told}" in log
    explained = api.call("GET", "/api/v0/explain?instance_id=31").json["sentences"][0]
    assert f"Its first load took {told}" in explained
    row = api.call("GET", f"/api/v0/compare?endpoint_id={endpoint_id}").json["rows"][0]
    assert row["load_parts_s"] == {"pull": 40.0, "download": 40.0, "weights": 10.0}
    assert row["start_parts_s"] == {}
