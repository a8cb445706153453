"""A field that nobody knows is refused with the nearest name; peers' extra fields are taken."""

from __future__ import annotations

import pytest

from tests.api.over_fakes import Api
from tests.api.test_auth import guarded_routes


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("POST", "/api/v0/endptjobs/", {"endpoint_name": "a", "max_worker": 5}, "max_workers"),
        ("PUT", "/api/v0/endptjobs/100/", {"min_lode": 5}, "min_load"),
        ("PUT", "/api/v0/endptjobs/100/", {"unknown_field": 5}, "there are endpoint_name"),
        ("POST", "/api/v0/autojobs/", {"endpoint_id": 100, "template_has": "x"}, "template_hash"),
        ("PUT", "/api/v0/autojobs/101/", {"wieght": 2}, "weight"),
        ("PUT", "/api/v0/autojobs/101/", {"interruptible_share": 0.5}, "interruptible"),
        ("PUT", "/api/v0/autojobs/101/", {"max_usd_per_day": 5}, "'max_usd_per_day' is no field"),
        ("PUT", "/api/v0/account", {"max_usd_per_hours": 2}, "max_usd_per_hour"),
        ("POST", "/api/v0/freeze", {"frozen": True, "endpointid": 100}, "endpoint_id"),
        ("POST", "/api/v0/rollout", {"autogroup_id": 101, "percnt": 5}, "percent"),
        ("POST", "/api/v0/promote", {"autogroup": 101}, "autogroup_id"),
        ("POST", "/api/v0/plan", {"endpoint": 100}, "endpoint_id"),
        ("POST", "/update_workers", {"workergroup_id": 101, "cancel_updte": True}, "cancel_update"),
        ("POST", "/update_workers", {"workergroup_id": 101, "dry_run": True}, "workergroup_id"),
        ("POST", "/api/v0/offers", {"autogroup_id": 101, "limt": 1}, "limit"),
        ("POST", "/api/v0/panic", {"confrim": "destroy everything"}, "confirm"),
        ("POST", "/api/v0/keys", {"name": "a", "verbs": ["read"], "expires_in": 5}, "expires_in_s"),
        (
            "PUT", "/api/v0/endptjobs/100/",
            {"schedules": [{"cron": "0 8 * * *", "duration_s": 60, "min_load": 1, "tz": "UTC"}]},
            "timezone",
        ),
    ],
)  # fmt: skip
def test_a_slip_is_refused_and_changes_nothing(
    api: Api, method: str, path: str, body: dict[str, object], told: str
) -> None:
    api.create_endpoint("llm")
    api.create_autogroup(100)
    before = (dict(api.groups.groups), api.ledger.account())
    answer = api.call(method, path, body)
    assert answer.status == 400
    assert "is no field" in answer.json["msg"]
    assert told in answer.json["msg"]
    assert (dict(api.groups.groups), api.ledger.account()) == before


def test_every_route_that_changes_something_and_has_a_body_refuses_what_it_does_not_know(
    api: Api,
) -> None:
    api.create_endpoint("llm")
    api.create_autogroup(100)
    took = []
    for method, resource, access in guarded_routes():
        if access.verb != "admin" or method not in ("POST", "PUT"):
            continue
        job = "101" if "autojobs" in resource or "workergroups" in resource else "100"
        path = resource.replace("{id}", job).replace("{key_id}", "x")
        answer = api.call(method, path, {"no_such_field": 1})
        is_named = answer.status == 400 and "no_such_field" in answer.json["msg"]
        took += [] if is_named else [resource]
    assert took == ["/api/v0/receivers/test"]  # which reads no body


@pytest.mark.parametrize("kind", ["endpoint", "autogroup", "workergroup"])
@pytest.mark.parametrize(
    ("what", "slip", "near"),
    [("logs", "tial", "tail"), ("workers", "idd", "id"), ("stats", "metric", "metric_name")],
)
def test_a_slip_at_the_vendors_reading_routes_is_refused_and_what_its_clients_send_is_taken(
    api: Api, kind: str, what: str, slip: str, near: str
) -> None:
    """`vastai` 1.9.1, api/endpoints.py: {"id", "api_key"}, and of logs "tail"."""
    api.create_endpoint("llm")
    api.create_autogroup(100)
    sent: dict[str, object] = {"id": 100 if kind == "endpoint" else 101, "api_key": api.key}
    sent |= {"tail": 5} if what == "logs" else {}
    assert api.call("POST", f"/get_{kind}_{what}/", sent).status == 200
    refused = api.call("POST", f"/get_{kind}_{what}/", {**sent, slip: "x"})
    assert refused.status == 400
    assert f"'{slip}' is no field; did you mean {near}?" in refused.json["msg"]


def test_what_the_vendors_clients_send_is_taken_and_a_row_may_be_sent_back(api: Api) -> None:
    sent = {
        "client_id": "me", "min_load": 0.0, "min_cold_load": 0.0, "target_util": 0.9,
        "cold_mult": 2.5, "cold_workers": 5, "max_workers": 20, "endpoint_name": "ep1",
        "max_queue_time": None, "autoscaler_instance": "prod",
    }  # fmt: skip
    created = api.call("POST", "/api/v0/endptjobs/", sent)
    assert created.status == 200
    path = f"/api/v0/endptjobs/{created.json['result']}/"
    row = api.call("GET", path).json["result"]
    assert api.call("PUT", path, row | {"min_load": 7.0}).status == 200
    assert api.call("GET", path).json["result"]["min_load"] == 7.0


def test_a_time_zone_is_kept_and_a_wrong_one_refused(api: Api) -> None:
    api.create_endpoint("llm")
    floor = {"cron": "0 8 * * 1-5", "duration_s": 60.0, "min_load": 5.0, "timezone": "Asia/Tokyo"}
    assert api.call("PUT", "/api/v0/endptjobs/100/", {"schedules": [floor]}).status == 200
    assert api.call("GET", "/api/v0/endptjobs/100/").json["result"]["schedules"] == [floor]
    wrong = api.call("PUT", "/api/v0/endptjobs/100/", {"schedules": [{**floor, "timezone": "X"}]})
    assert wrong.status == 400
    assert "timezone" in wrong.json["msg"]


@pytest.mark.parametrize("pasted", [" abc", "abc\n", "\tabc \r\n"])
def test_a_hash_is_taken_as_it_was_copied(api: Api, pasted: str) -> None:
    """With a line's end behind it the hash named no template, and nothing could be launched."""
    endpoint_id = api.create_endpoint()
    body = {"endpoint_id": endpoint_id, "template_hash": pasted}
    answer = api.call("POST", "/api/v0/autojobs/", body)
    assert answer.json["autogroup"]["template_hash"] == "abc"


@pytest.mark.parametrize("pasted", ["a b", "abc\x00", "ab\u00adc", "a" * 257])
def test_a_hash_that_can_be_none_is_refused(api: Api, pasted: str) -> None:
    body = {"endpoint_id": api.create_endpoint(), "template_hash": pasted}
    answer = api.call("POST", "/api/v0/autojobs/", body)
    assert (answer.status, "no hash of a template" in answer.json["msg"]) == (400, True)


def test_a_time_zone_that_was_left_empty_is_not_taken_for_utc(api: Api) -> None:
    floor = {"cron": "0 8 * * *", "duration_s": 60, "min_load": 1, "timezone": ""}
    answer = api.call("POST", "/api/v0/endptjobs/", {"endpoint_name": "a", "schedules": [floor]})
    assert (answer.status, "timezone" in answer.json["msg"]) == (400, True)
