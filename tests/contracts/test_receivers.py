"""Receivers: the fake behaves like the table and the topic of a deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import boto3
import pytest

from chalicelib.adapters.notifiers import DynamoReceivers
from chalicelib.ports.notifier import Notice, NotifierError, Receiver, Receivers
from fakes.ports.notifier import FakeReceivers

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SLACK = Receiver(name="ops", channel="slack", address="https://hooks.slack.com/services/T/B/x")
MAIL = Receiver(name="o@example.com", channel="email", address="o@example.com")
NOTICE = Notice(at=1.0, kind="panic", scope="account", title="t", text="t", runbook="")

Make = Callable[[bool], Receivers]


@pytest.fixture(params=["fake", "dynamodb"])
def make(request: pytest.FixtureRequest, dynamodb: DynamoDBClient) -> Make:
    """Receivers of a deployment with or without an alert topic."""

    def made(has_topic: bool) -> Receivers:
        sns = boto3.client("sns", region_name="us-east-1")
        topic = sns.create_topic(Name="alerts")["TopicArn"] if has_topic else ""
        if request.param == "fake":
            return FakeReceivers(topic)
        kept = DynamoReceivers(dynamodb, "ballast-test", lambda: sns)
        if topic:
            kept.remember_topic(topic)
        return kept

    return made


def test_a_webhook_is_kept_replaced_and_removed(make: Make) -> None:
    kept = make(False)
    kept.add(SLACK)
    other = Receiver(name="ops", channel="webhook", address="https://hooks.example.org/y")
    kept.add(other)
    assert list(kept.receivers()) == [other]
    assert kept.remove("ops")
    assert not kept.remove("ops")
    assert list(kept.receivers()) == []


def test_the_topic_is_no_receiver(make: Make) -> None:
    kept = make(True)
    assert kept.topic().startswith("arn:")
    assert list(kept.receivers()) == []
    assert not kept.remove("#topic")
    assert kept.topic().startswith("arn:")
    kept.publish(NOTICE)


def test_an_address_to_mail_to_is_listed(make: Make) -> None:
    kept = make(True)
    kept.add(MAIL)
    assert [(one.name, one.channel) for one in kept.receivers()] == [("o@example.com", "email")]


def test_without_a_topic_nothing_is_mailed_or_published(make: Make) -> None:
    kept = make(False)
    assert kept.topic() == ""
    with pytest.raises(NotifierError, match="no alert topic"):
        kept.add(MAIL)
    with pytest.raises(NotifierError, match="no alert topic"):
        kept.publish(NOTICE)


def test_a_receiver_of_another_version_is_left_to_it_and_stops_no_notice(
    dynamodb: DynamoDBClient,
) -> None:
    """It was a KeyError in the round that had something to tell."""
    kept = DynamoReceivers(dynamodb, "ballast-test", lambda: pytest.fail("SNS is not asked"))
    kept.add(SLACK)
    odd = ('{"channel": "pager", "address": "x"}', '{"way": "slack"}', "[1]", "text", "null")
    for i, body in enumerate(odd):
        item = {"kind": {"S": "receiver"}, "id": {"S": f"r{i}"}, "body": {"S": body}}
        dynamodb.put_item(TableName="ballast-test-config", Item=item)
    assert list(kept.receivers()) == [SLACK]
    assert kept.topic() == ""
