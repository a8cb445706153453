"""Notifiers: SNS publishes; the webhook never leaves the address that was checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import urllib3

from chalicelib.adapters.notifiers import (
    DynamoReceivers,
    OwnerNotifier,
    WebhookNotifier,
    body_for,
)
from chalicelib.core.fleet.safe_url import SafeUrl, UnsafeUrlError
from chalicelib.ports.notifier import Notice, NotifierError, Receiver
from chalicelib.services.owner.receivers import notice_of_record
from fakes.ports.notifier import FakeReceivers

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

NOTICE = Notice(
    at=1.0,
    kind="cap_reached",
    scope="endpoint:7",
    title="A spending cap is reached",
    text="Grüße: 5.00 $/h is committed",
    runbook="docs/runbook.md#cap-reached",
    facts={"cap": "hour"},
)


class Internet:
    """Names that resolve as told, once each time they are asked for, and posts that are kept."""

    def __init__(self, *answers: Sequence[str], status: int = 200) -> None:
        self.answers = list(answers)
        self.status = status
        self.posts: list[tuple[SafeUrl, str, bytes]] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        return self.answers.pop(0)

    def post(self, url: SafeUrl, address: str, body: bytes) -> int:
        if self.status == 0:
            raise urllib3.exceptions.HTTPError("connection reset")
        self.posts.append((url, address, body))
        return self.status

    def notifier(self) -> WebhookNotifier:
        return WebhookNotifier("https://hooks.chat.com/in", resolve=self.resolve, post=self.post)


def test_a_webhook_gets_json_at_the_checked_address() -> None:
    internet = Internet(["8.8.8.8"])
    internet.notifier().send(NOTICE)
    [(url, address, body)] = internet.posts
    assert (url.host, address) == ("hooks.chat.com", "8.8.8.8")
    assert json.loads(body)["kind"] == "cap_reached"
    assert "Grüße" in json.loads(body)["text"]


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::ffff:10.0.0.1"], []]
)
def test_a_name_with_any_private_address_is_not_called(addresses: list[str]) -> None:
    internet = Internet(addresses)
    with pytest.raises(NotifierError):
        internet.notifier().send(NOTICE)
    assert internet.posts == []


def test_rebinding_between_check_and_use_changes_nothing() -> None:
    """The name is resolved once; the second answer, a private one, is never asked for."""
    internet = Internet(["8.8.8.8"], ["127.0.0.1"])
    internet.notifier().send(NOTICE)
    assert internet.posts[0][1] == "8.8.8.8"
    assert internet.answers == [["127.0.0.1"]]


@pytest.mark.parametrize("status", [0, 301, 307, 404, 500])
def test_anything_but_success_is_an_error(status: int) -> None:
    with pytest.raises(NotifierError):
        Internet(["8.8.8.8"], status=status).notifier().send(NOTICE)


def test_a_private_url_is_refused_when_it_is_configured() -> None:
    with pytest.raises(UnsafeUrlError):
        WebhookNotifier("https://169.254.169.254/latest/meta-data")


PREFIX = "ballast-test"


def inbox(topic: str) -> str:
    """A queue behind the topic; its URL."""
    sqs = boto3.client("sqs", region_name="us-east-1")
    queue = str(sqs.create_queue(QueueName="inbox")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    boto3.client("sns", region_name="us-east-1").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=arn["QueueArn"]
    )
    return queue


def messages(queue: str) -> list[dict[str, Any]]:
    sqs = boto3.client("sqs", region_name="us-east-1")
    found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
    return [json.loads(one["Body"]) for one in found]


def receivers(dynamodb: DynamoDBClient) -> DynamoReceivers:
    return DynamoReceivers(dynamodb, PREFIX, lambda: boto3.client("sns", region_name="us-east-1"))


def test_the_topic_gets_a_printable_subject_and_the_whole_notice(
    dynamodb: DynamoDBClient,
) -> None:
    kept = receivers(dynamodb)
    topic = boto3.client("sns", region_name="us-east-1").create_topic(Name="alerts")["TopicArn"]
    queue = inbox(topic)
    kept.remember_topic(topic)
    kept.add(Receiver(name="ops", channel="slack", address="https://hooks.slack.com/x"))
    notifier = OwnerNotifier(kept)
    notifier.send(replace(NOTICE, title="Größe\n" * 30))
    [message] = messages(queue)
    assert message["Subject"].isprintable()
    assert len(message["Subject"]) <= 100
    assert notice_of_record(message, 9.0) == replace(NOTICE, title="Größe\n" * 30)


def test_a_notice_that_no_confirmed_receiver_gets_is_a_failure(dynamodb: DynamoDBClient) -> None:
    kept = receivers(dynamodb)
    with pytest.raises(NotifierError, match="ballast notify add email"):
        OwnerNotifier(kept).send(NOTICE)
    topic = boto3.client("sns", region_name="us-east-1").create_topic(Name="alerts")["TopicArn"]
    kept.remember_topic(topic)
    with pytest.raises(NotifierError, match="no receiver is confirmed"):
        OwnerNotifier(kept).send(NOTICE)


def test_without_a_topic_one_dead_receiver_keeps_no_other_from_being_told() -> None:
    known = FakeReceivers()
    for name in ("dead", "well"):
        address = f"https://{name}.example.com/in"
        known.add(Receiver(name=name, channel="webhook", address=address))
    known.broken.add("dead")
    OwnerNotifier(known).send(NOTICE)
    assert [name for name, _ in known.sent] == ["well"]
    known.broken.add("well")
    with pytest.raises(NotifierError):
        OwnerNotifier(known).send(NOTICE)


@pytest.mark.parametrize(
    ("channel", "key"), [("slack", "text"), ("discord", "content"), ("webhook", "facts")]
)
def test_each_channel_gets_the_shape_that_its_service_takes(channel: str, key: str) -> None:
    document = json.loads(body_for(channel, replace(NOTICE, text="x" * 5_000)))
    assert key in document
    if channel == "discord":
        assert len(document["content"]) <= 2_000
        assert document["allowed_mentions"] == {"parse": []}


@pytest.mark.parametrize(
    "value", ["", "text", "[1]", '{"at": "soon"}', '{"at": 1.0, "kind": "k", "said": "renamed"}']
)
def test_a_notice_of_another_version_is_told_by_its_mail(value: str) -> None:
    record = {
        "Subject": "Ballast: a cap is reached",
        "Message": "5.00 $/h is committed",
        "MessageAttributes": {"notice": {"Type": "String", "Value": value}},
    }
    notice = notice_of_record(record, 9.0)
    assert notice is not None
    assert (notice.title, notice.text) == ("Ballast: a cap is reached", "5.00 $/h is committed")
