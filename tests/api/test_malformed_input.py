"""Every route with malformed, missing, huge, negative and NaN input: a clear 4xx, nothing changed.

Routes come from the app itself and names from its OpenAPI document, which the tests hold against
the app: a new one is tested from its first day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.over_fakes import Answer, Api
from tests.api.test_auth import STATIC, filled
from tests.api.test_openapi import SPEC, resolved

GARBAGE = {
    "NaN": b'{"min_load": NaN, "id": NaN, "cost": NaN}',
    "Infinity": b'{"min_load": Infinity, "cost": -Infinity}',
    "huge number": b'{"id": 1e400}',
    "long integer": b'{"id": ' + b"9" * 400 + b"}",
    "half a body": b'{"endpoint_name": "x',
    "a list": b"[1, 2]",
    "a string": b'"endpoint"',
    "null": b"null",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b'{"a":' * 500 + b"1" + b"}" * 500,
    "too big": b'{"a": "' + b"x" * 2_000_000 + b'"}',
    "half a surrogate pair": b'{"endpoint": "\\ud800", "endpoint_name": "\\ud800"}',
}

VALUES: tuple[object, ...] = (
    -1, 0, 2**53 + 1, -1.5, 1e308, True, "", "NaN", "-1", "\x00", "x" * 300, [], [None], {},
    {"a": {"b": []}}, "'; DROP TABLE", "../../etc/passwd",
)  # fmt: skip


def documented_names() -> Iterator[str]:
    """Every name that some route reads from a query or a body, as the OpenAPI document has it."""
    for methods in SPEC["paths"].values():
        for operation in methods.values():
            yield from names_read(operation)


def names_read(operation: dict[str, Any]) -> Iterator[str]:
    """Those of one operation."""
    yield from (p["name"] for p in operation.get("parameters", ()) if p["in"] == "query")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from names_of(resolved(content["schema"]))


def names_of(schema: dict[str, Any]) -> Iterator[str]:
    """The names of an object's fields, in every form that it may take."""
    yield from schema.get("properties", {})
    for form in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(form, ()):
            yield from names_of(part)


NAMES = sorted(set(documented_names()))


def all_routes() -> Iterator[tuple[str, str]]:
    """(method, resource) of every route that takes input."""
    for resource, methods in Api().app.routes.items():
        if resource not in STATIC:
            yield from ((method, resource) for method in methods)


@pytest.fixture(params=list(all_routes()), ids=" ".join)
def route(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Each route in turn."""
    pair: tuple[str, str] = request.param
    return pair


def let_the_scaler_answer(api: Api) -> None:
    """Whatever it is asked."""
    asks = ("plan", "offers", "bundles", "template", "templates", "gpu_types")
    api.poke.answers = {ask: {} for ask in asks}
    api.poke.answers["instance"] = {"instance": None}


def check_refusal(answer: Answer) -> None:
    """A 4xx whose body is the one error object."""
    assert 400 <= answer.status < 500, answer.text
    assert answer.json["success"] is False
    assert answer.json["error"]
    assert answer.json["msg"] == answer.json["error_msg"]


def test_a_body_that_is_no_object_is_refused(api: Api, route: tuple[str, str]) -> None:
    method, resource = route
    if resource == "/pubkey":  # reads no body
        return
    path = filled(resource, api.create_endpoint())
    before = api.state()
    for name, body in GARBAGE.items():
        answer = api.call(method, path, body)
        if resource in ("/worker_status", "/delete_requests"):
            assert answer.status < 500, name  # workers retry what is refused: reports are dropped
        else:
            check_refusal(answer)
        assert api.state() == before, name


def test_nothing_at_all_is_used_or_refused(api: Api, route: tuple[str, str]) -> None:
    """Every field missing: no 5xx; and what is refused has changed nothing."""
    method, resource = route
    let_the_scaler_answer(api)
    before = api.state()
    answer = api.call(method, filled(resource, 0), {})
    assert answer.status < 500, answer.text
    if answer.status >= 400:
        check_refusal(answer)
        assert api.state() == before


def test_any_value_for_any_name_is_used_or_refused(api: Api, route: tuple[str, str]) -> None:
    """No 5xx; and what is refused has changed nothing.

    Every value for every name that the route reads. Of one that it does not read it sees the name
    alone: that gets one of the values, at each route another.
    """
    method, resource = route
    own = set(names_read(SPEC["paths"][resource][method.lower()])) | {"id"}
    turn = sorted(all_routes()).index(route)
    endpoint_id = api.create_endpoint()
    autogroup_id = api.create_autogroup(endpoint_id)
    let_the_scaler_answer(api)
    thing = autogroup_id if "auto" in resource or "group" in resource else endpoint_id
    valid = {"id": thing, "endpoint_id": endpoint_id, "autogroup_id": autogroup_id}
    before = api.state()
    for n, name in enumerate(NAMES):
        for value in VALUES if name in own else (VALUES[(n + turn) % len(VALUES)],):
            answer = api.call(method, filled(resource, thing), {**valid, name: value})
            assert answer.status < 500, (name, value, answer.text)
            after = api.state()
            if answer.status >= 400:
                check_refusal(answer)
                assert after == before, (name, value)
            before = after


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "%00", "9" * 40, "1e3", "\uff10"])
def test_an_id_in_the_path_is_a_whole_number(api: Api, value: str) -> None:
    for method, resource in all_routes():
        if resource.endswith("/{id}"):
            path = resource.replace("{id}", value)
            check_refusal(api.call(method, path, {}))


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "X"]
)
def test_a_method_that_a_route_has_not_is_refused(api: Api, method: str) -> None:
    before = api.state()
    for resource, methods in api.app.routes.items():
        if method not in methods:
            answer = api.call(method, filled(resource, 0), {})
            assert answer.status == 405, resource
            check_refusal(answer)
            assert ", ".join(sorted(methods)) in answer.json["msg"]
    assert api.state() == before


@pytest.mark.parametrize("written", ["\uff11", "1_0", "nan", "0x1", "1e999", "1 0"])
def test_numbers_in_a_query_are_ascii_decimals(api: Api, written: str) -> None:
    endpoint_id = api.create_endpoint()
    path = f"/api/v0/series?endpoint_id={endpoint_id}&t2=600&t1={quote(written)}"
    check_refusal(api.call("GET", path))


def test_refusals_name_the_value_and_the_way_out(api: Api) -> None:
    answer = api.call("POST", "/api/v0/endptjobs/", {"endpoint_name": "x", "target_util": 7})
    assert answer.status == 400
    assert "target_util: 7 is out of bounds; allowed: above 0 to 1" in json.dumps(answer.json)
