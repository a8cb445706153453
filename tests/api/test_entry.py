"""Every spelling of a path reaches its resource; everything else gets a JSON object."""

from __future__ import annotations

import threading

import pytest
from chalice.test import Client

from chalicelib.wire.json_body import MAX_BODY_BYTES
from lab.local.gateway.lambda_context import LambdaContext
from tests.api.over_fakes import Api, event_of


@pytest.mark.parametrize(
    "path",
    ["/api/v0/endptjobs", "/api/v0/endptjobs/", "//api/v0/endptjobs/", "/api//v0/endptjobs//"],
)
def test_slashes_do_not_matter(api: Api, path: str) -> None:
    assert api.call("GET", path).json["success"] is True


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("api", "/api/v0/endptjobs"),  # a REST API's event: without its stage, here of that name
        ("api", "/api/api/v0/endptjobs/"),
        ("prod", "/api/v0/endptjobs"),
        ("prod", "/prod/api/v0/endptjobs/"),
        ("$default", "/api/v0/endptjobs"),
    ],
)
def test_a_path_is_found_with_and_without_its_stage(api: Api, stage: str, path: str) -> None:
    event = event_of("GET", path, b"", {"Authorization": f"Bearer {api.key}"})
    event["requestContext"]["stage"] = stage
    assert api.app(event, LambdaContext("app", 1.0))["statusCode"] == 200


def test_an_unknown_path_and_method_are_told_apart_in_json(api: Api) -> None:
    missing = api.call("GET", "/api/v0/nothing/here/")
    assert (missing.status, missing.json["error"]) == (404, "not_found")
    wrong = api.call("PATCH", "/api/v0/endptjobs/")
    assert (wrong.status, wrong.json["error"]) == (405, "method_not_allowed")
    assert "POST" in wrong.json["msg"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_bodies_are_read_whatever_they_call_themselves(api: Api, content_type: str) -> None:
    body = b'{"endpoint_name": "llm"}'
    answer = api.call("POST", "/api/v0/endptjobs/", body, headers={"Content-Type": content_type})
    assert answer.status == 200


def test_answers_are_plain_json_that_no_cache_keeps(api: Api) -> None:
    answer = api.call("GET", "/api/v0/endptjobs/")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_body_that_is_too_big_is_refused(api: Api) -> None:
    answer = api.call("POST", "/api/v0/endptjobs/", b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status == 400
    assert "bytes" in answer.json["msg"]


def test_threads_do_not_see_each_others_requests(api: Api) -> None:
    ids = [api.create_endpoint(f"ep{i}") for i in range(8)]
    wrong: list[int] = []

    def show(endpoint_id: int) -> None:
        for _ in range(20):
            row = api.call("GET", f"/api/v0/endptjobs/{endpoint_id}/").json["result"]
            if row["id"] != endpoint_id:
                wrong.append(endpoint_id)

    threads = [threading.Thread(target=show, args=(endpoint_id,)) for endpoint_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_chalices_own_client_reaches_the_app(api: Api) -> None:
    """The way of `chalice local`: its gateway matches the resource itself."""
    answer = Client(api.app, project_dir=".").http.get(
        "/api/v0/endptjobs/", headers={"Authorization": f"Bearer {api.key}"}
    )
    assert answer.status_code == 200
    assert answer.json_body == {"success": True, "results": []}
