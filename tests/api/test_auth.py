"""The authoriser: deny by default, for every route, key, verb and endpoint group."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.api.auth import PUBLIC, Access
from chalicelib.ports.errors import KeysUnavailableError
from tests.api.over_fakes import Api

WORKERS_OWN = frozenset({"/route", "/pubkey", "/worker_status", "/delete_requests"})
STATIC = frozenset({"/dashboard", "/dashboard/{name}", "/bundle", "/bundle/{name}"})


def guarded_routes() -> Iterator[tuple[str, str, Access]]:
    """(method, resource, access) of every management route, from the app itself."""
    for resource, methods in Api().app.routes.items():
        for method, entry in methods.items():
            access = getattr(entry.view_function, "access", None)
            if access is not None:
                yield method, resource, access


def test_every_route_is_guarded_or_known_to_be_open() -> None:
    """A route that is registered past the authoriser is seen here."""
    guarded = {resource for _, resource, _ in guarded_routes()}
    public = {r for _, r, access in guarded_routes() if access.verb == PUBLIC}
    assert set(Api().app.routes) - guarded == WORKERS_OWN | STATIC
    assert public == {"/health", "/static/jvastai_root.cer"}


@pytest.fixture(params=list(guarded_routes()), ids=lambda route: f"{route[0]} {route[1]}")
def guarded(request: pytest.FixtureRequest) -> tuple[str, str, Access]:
    """Each guarded route in turn."""
    route: tuple[str, str, Access] = request.param
    return route


def filled(resource: str, value: int) -> str:
    """The path with every parameter replaced."""
    parts = resource.split("/")
    return "/".join(str(value) if part.startswith("{") else part for part in parts) + "/"


def body_for(endpoint_id: int, autogroup_id: int) -> dict[str, Any]:
    """A body in which every route finds the thing that it is about."""
    return {
        "id": endpoint_id, "endpoint_id": endpoint_id, "autogroup_id": autogroup_id,
        "workergroup_id": autogroup_id, "frozen": True, "percent": 100,
    }  # fmt: skip


def test_no_key_and_a_bad_key_are_refused_alike(api: Api, guarded: tuple[str, str, Access]) -> None:
    method, resource, access = guarded
    if access.verb == PUBLIC:
        return
    before = api.state()
    for key in (None, "nonsense", api.key + "x", "blk.a-roa-00.1." + "A" * 43):
        answer = api.call(method, filled(resource, 100), {}, key=key)
        assert (answer.status, answer.json["error"]) == (401, "auth_error")
        assert answer.json["success"] is False
        assert answer.json["msg"].startswith("Key not accepted: ")
    assert api.state() == before


def test_a_key_without_the_verb_is_refused(api: Api, guarded: tuple[str, str, Access]) -> None:
    method, resource, access = guarded
    if access.verb == PUBLIC:
        return
    others = {"route", "read", "admin"} - {access.verb}
    for n in (1, 2):
        for verbs in itertools.combinations(sorted(others), n):
            key = api.new_key(*verbs)
            before = api.state()
            answer = api.call(method, filled(resource, 100), {}, key=key)
            assert (answer.status, answer.json["error"]) == (403, "forbidden")
            assert api.state() == before


def test_a_key_of_one_group_sees_of_another_what_it_sees_of_none(
    api: Api, guarded: tuple[str, str, Access]
) -> None:
    """Unknown and forbidden look the same, and nothing changes."""
    method, resource, access = guarded
    if access.verb == PUBLIC:
        return
    mine, theirs = api.create_endpoint("mine"), api.create_endpoint("theirs")
    autogroup_id = api.create_autogroup(theirs)
    key = api.new_key("route", "read", "admin", endpoint_id=mine)
    before = api.state()
    their_id = autogroup_id if "autojobs" in resource or "group" in resource else theirs
    known = api.call(method, filled(resource, their_id), body_for(theirs, autogroup_id), key=key)
    unknown = api.call(method, filled(resource, 999), body_for(999, 999), key=key)
    assert known.status == unknown.status
    assert "theirs" not in known.text
    assert api.state() == before
    if access.account_only:
        assert (known.status, known.json["error"]) == (403, "forbidden")


def test_the_leaked_endpoint_key_only_routes(api: Api) -> None:
    """The vendor's client sends it to workers (protocol.md G 6)."""
    endpoint_id = api.create_endpoint()
    key = api.call("GET", f"/api/v0/endptjobs/{endpoint_id}/").json["result"]["api_key"]
    for method, resource, access in guarded_routes():
        if access.verb != PUBLIC:
            path = filled(resource, endpoint_id)
            assert api.call(method, path, {"id": endpoint_id}, key=key).status == 403


def test_a_key_that_may_not_route_is_not_shown_one_that_may(api: Api) -> None:
    endpoint_id = api.create_endpoint()
    path = f"/api/v0/endptjobs/{endpoint_id}/"
    answer = api.call("GET", path, key=api.new_key("read", "admin"))
    assert answer.json["result"]["api_key"] == ""


def test_a_key_may_come_in_header_query_or_body(api: Api) -> None:
    path = "/api/v0/endptjobs/"
    basic = base64.b64encode(f"user:{api.key}".encode()).decode()
    assert (
        api.call("GET", path, key=None, headers={"Authorization": f"Basic {basic}"}).status == 200
    )
    assert api.call("GET", f"{path}?api_key={api.key}", key=None).status == 200
    assert api.call("GET", path, {"api_key": api.key}, key=None).status == 200
    headers = {"Authorization": "Basic ###"}
    assert api.call("GET", path, key=None, headers=headers).status == 401


def test_while_kms_is_down_nobody_is_let_in(api: Api) -> None:
    api.secrets.failure = KeysUnavailableError("KMS does not answer")
    answer = api.call("GET", "/api/v0/endptjobs/")
    assert (answer.status, answer.json["error"]) == (503, "keys_unavailable")
