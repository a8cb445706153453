"""Callers' keys over HTTP: made, shown once, rotated, revoked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.api.auth import NOBODY, Call
from chalicelib.services.keys import hold_key
from tests.api.over_fakes import Api

Reader = Callable[[Call, str], object]


@pytest.fixture
def fleet(api: Api) -> Api:
    """Endpoint group 100, named llm."""
    assert api.create_endpoint("llm") == 100
    return api


def test_a_keys_text_is_shown_once_and_works_until_it_is_revoked(fleet: Api) -> None:
    body = {"name": "ci", "verbs": ["read"], "endpoint_name": "llm", "max_requests_per_s": 5}
    created = fleet.call("POST", "/api/v0/keys/", body).json
    key, row = created["key"], created["result"]
    assert (row["endpoint_id"], row["verbs"], row["is_revoked"]) == (100, ["read"], False)
    path = f"/api/v0/keys/{row['key_id']}/"
    assert key not in fleet.call("GET", "/api/v0/keys/").text + fleet.call("GET", path).text
    assert fleet.call("GET", "/api/v0/endptjobs/100/", key=key).status == 200
    rotated = fleet.call("PUT", path, {"rotate": True}).json["key"]
    assert fleet.call("GET", "/api/v0/endptjobs/100/", key=key).status == 200
    fleet.call("PUT", path, {"revoke_older": True})
    fleet.clock.advance(31)
    assert fleet.call("GET", "/api/v0/endptjobs/100/", key=key).status == 401
    assert fleet.call("GET", "/api/v0/endptjobs/100/", key=rotated).status == 200
    assert fleet.call("DELETE", path).json["result"]["is_revoked"] is True
    fleet.clock.advance(31)
    assert fleet.call("GET", "/api/v0/endptjobs/100/", key=rotated).status == 401
    assert not any(key in str(event) or rotated in str(event) for event in fleet.events.events)


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"verbs": []},
        {"verbs": ["fly"]},
        {"endpoint_name": "none"},
        {"share": 0},
        {"expires_in_s": -1},
        {"expires_in_s": 1e15},
    ],
)
def test_a_bad_key_request_is_refused(fleet: Api, body: dict[str, object]) -> None:
    before = fleet.state()
    request = {"name": "x", "verbs": ["read"], **body}
    assert fleet.call("POST", "/api/v0/keys/", request).status == 400
    assert fleet.state() == before


def test_a_keys_limits_are_changed_and_removed_and_the_change_is_on_record(fleet: Api) -> None:
    body = {"name": "ci", "verbs": ["read"], "max_requests_per_s": 5, "max_concurrent": 3}
    row = fleet.call("POST", "/api/v0/keys/", body).json["result"]
    path = f"/api/v0/keys/{row['key_id']}/"
    change = {"max_requests_per_s": 7.5, "expires_in_s": 60, "unset": ["max_concurrent"]}
    changed = fleet.call("PUT", path, change).json["result"]
    assert (changed["max_requests_per_s"], changed["max_concurrent"]) == (7.5, None)
    assert changed["expires_at"] == fleet.clock.now() + 60
    assert (changed["share"], changed["generation"]) == (1.0, 1)
    event = fleet.events.events[-1]
    assert event.facts["before"] == {
        "expires_at": None, "max_concurrent": 3, "max_requests_per_s": 5,
    }  # fmt: skip
    changed = fleet.call("PUT", path, {"unset": ["expires_in_s", "share"]}).json["result"]
    assert (changed["expires_at"], changed["share"]) == (None, 1.0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"share": 0},
        {"max_concurrent": 1.5},
        {"unset": ["name"]},
        {"max_load_per_s": "x"},
        {"expires_in_s": 0},
    ],
)
def test_a_bad_change_of_limits_is_refused(fleet: Api, body: dict[str, object]) -> None:
    row = fleet.call("POST", "/api/v0/keys/", {"name": "ci", "verbs": ["read"]}).json["result"]
    before = fleet.state()
    assert fleet.call("PUT", f"/api/v0/keys/{row['key_id']}/", body).status == 400
    assert fleet.state() == before


def test_a_key_that_is_held_since_a_restore_is_freed_by_a_word_of_the_owner(fleet: Api) -> None:
    created = fleet.call("POST", "/api/v0/keys/", {"name": "ci", "verbs": ["read"]}).json
    path = f"/api/v0/keys/{created['result']['key_id']}/"
    hold_key(fleet.ports, created["result"]["key_id"])
    assert fleet.call("GET", "/api/v0/endptjobs/", key=created["key"]).status == 401
    assert fleet.call("PUT", path, {"confirm": True}).json["result"]["is_held"] is False
    fleet.clock.advance(31)
    assert fleet.call("GET", "/api/v0/endptjobs/", key=created["key"]).status == 200


@pytest.mark.parametrize("read", [Call.argument, Call.flag, Call.whole, Call.number, Call.text])
def test_a_handler_cannot_read_a_field_that_its_route_refuses(fleet: Api, read: Reader) -> None:
    call = Call(
        ports=fleet.ports, caller=NOBODY, body={}, query={}, now=0.0, fields=("rotate", "unset")
    )
    assert not read(call, "rotate")
    with pytest.raises(LookupError, match="confirm"):
        read(call, "confirm")
