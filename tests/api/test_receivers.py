"""Receivers over HTTP, and the function on the alerts' topic."""

from __future__ import annotations

import json

import pytest

from chalicelib.api.routes.receivers import answer_topic
from chalicelib.ports.bundles import NotifierPorts
from tests.api.over_fakes import Api

SLACK = {"channel": "slack", "address": "https://hooks.slack.com/services/T1/B1/secret"}
PATH = "/api/v0/receivers/"
ALARM = {
    "AlarmName": "ballast-prod-RoundsMissing",
    "AlarmDescription": "No round for 10 minutes. See docs/runbook.md#scaler-silent.",
    "NewStateValue": "ALARM",
    "NewStateReason": "Threshold Crossed: no datapoints were received for 2 periods",
    "Region": "US East (N. Virginia)",
}


def rows(api: Api) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in api.call("GET", PATH).json["results"]}


def notifier_ports(api: Api) -> NotifierPorts:
    return NotifierPorts(clock=api.clock, events=api.events, receivers=api.receivers)


def test_a_webhook_is_added_tried_and_removed_and_its_url_is_never_shown(api: Api) -> None:
    assert api.call("POST", f"{PATH}test/", {}).status == 409  # nobody to be told
    assert api.call("POST", PATH, SLACK).status == 200
    assert rows(api)["slack"]["state"] == "untested"
    assert api.call("POST", f"{PATH}test/", {}).status == 200
    assert rows(api)["slack"]["state"] == "delivered"
    assert "secret" not in api.call("GET", PATH).text + str(api.events.events)
    api.receivers.broken.add("slack")
    api.call("POST", f"{PATH}test/", {})
    assert rows(api)["slack"]["state"] == "failed"
    assert "HTTP 500" in str(rows(api)["slack"]["detail"])
    assert api.call("DELETE", f"{PATH}slack/").status == 200
    assert api.call("DELETE", f"{PATH}slack/").status == 404
    assert rows(api) == {}


def test_an_address_is_pending_until_it_is_confirmed(api: Api) -> None:
    mail = {"channel": "email", "address": "o@example.com"}
    assert api.call("POST", PATH, mail).status == 409  # no topic to mail from
    api.receivers.remember_topic("arn:aws:sns:us-east-1:1:alerts")
    assert api.call("POST", PATH, mail).status == 200
    assert rows(api)["o@example.com"]["state"] == "pending"
    checks = {row["name"]: row for row in api.call("GET", "/api/v0/doctor/").json["checks"]}
    assert not checks["alerts"]["ok"]
    assert "not yet confirmed: o@example.com" in str(checks["alerts"]["detail"])
    api.receivers.confirm("o@example.com")
    checks = {row["name"]: row for row in api.call("GET", "/api/v0/doctor/").json["checks"]}
    assert checks["alerts"]["ok"]
    api.call("POST", f"{PATH}test/", {})
    assert rows(api)["o@example.com"]["state"] == "delivered"
    assert len(api.receivers.published) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"channel": "pager", "address": "https://a.example.org/"},
        {"channel": "slack", "address": "http://hooks.slack.com/x"},
        {"channel": "slack", "address": "https://169.254.169.254/latest"},
        {"channel": "email", "address": "nobody"},
        {"channel": "email"},
        {**SLACK, "name": "#topic"},
        {**SLACK, "name": ""},
        {**SLACK, "url": "x"},
    ],
)
def test_what_cannot_be_told_is_refused_with_the_field(api: Api, body: object) -> None:
    answer = api.call("POST", PATH, body)
    assert answer.status == 400
    assert any(name in answer.text for name in ("channel", "address", "name", "url"))


def test_only_a_key_of_the_account_that_may_admin_sees_receivers(api: Api) -> None:
    api.create_endpoint("llm")
    for key in (api.new_key("read"), api.new_key("admin", endpoint_id=100)):
        assert api.call("GET", PATH, key=key).status in (403, 404)
        assert api.call("POST", PATH, SLACK, key=key).status in (403, 404)
    assert rows(api) == {}


def test_an_alarm_on_the_topic_reaches_every_receiver_that_can_be_reached(api: Api) -> None:
    for name in ("one", "two"):
        api.call("POST", PATH, {**SLACK, "name": name})
    api.receivers.broken.add("one")
    event = {"Records": [{"Sns": {"Subject": "ALARM", "Message": json.dumps(ALARM)}}]}
    answer = answer_topic(event, lambda: notifier_ports(api))
    assert answer == {"problems": {"one": "webhook one answered HTTP 500"}}
    [(name, notice)] = api.receivers.sent
    assert (name, notice.title) == ("two", "alarm ballast-prod-RoundsMissing has fired")
    assert notice.runbook == "docs/runbook.md#scaler-silent"
    assert "no datapoints" in notice.text
    assert {row["state"] for row in rows(api).values()} == {"failed", "delivered"}


def test_the_end_of_an_alarm_is_told_and_a_new_one_that_finds_all_well_is_not(api: Api) -> None:
    api.call("POST", PATH, SLACK)
    for before in ("ALARM", "INSUFFICIENT_DATA"):
        message = json.dumps({**ALARM, "NewStateValue": "OK", "OldStateValue": before})
        answer_topic({"Records": [{"Sns": {"Message": message}}]}, lambda: notifier_ports(api))
    [(_, notice)] = api.receivers.sent
    assert notice.title == "alarm ballast-prod-RoundsMissing is over"


@pytest.mark.parametrize("message", ["", "not JSON", "[1]", '{"a": 1}'])
def test_any_message_of_the_topic_is_passed_on(api: Api, message: str) -> None:
    api.call("POST", PATH, SLACK)
    event = {"Records": [{"Sns": {"Subject": None, "Message": message}}]}
    assert answer_topic(event, lambda: notifier_ports(api)) == {"problems": {}}
    assert api.receivers.sent[0][1].text == message
