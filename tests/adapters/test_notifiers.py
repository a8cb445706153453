"""Notifiers: SNS publishes; the webhook never leaves the address that was checked."""

from __future__ import annotations

import json
from collections.abc import Sequence

import boto3
import pytest
import urllib3

from chalicelib.adapters.notifiers import SnsNotifier, WebhookNotifier
from chalicelib.core.fleet.safe_url import SafeUrl, UnsafeUrlError
from chalicelib.ports.notifier import Notice, NotifierError

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


def test_sns_publishes_with_a_printable_subject(aws: None) -> None:
    sns = boto3.client("sns", region_name="us-east-1")
    sqs = boto3.client("sqs", region_name="us-east-1")
    topic = sns.create_topic(Name="alarms")["TopicArn"]
    queue = sqs.create_queue(QueueName="inbox")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn["Attributes"]["QueueArn"])
    SnsNotifier(sns, topic).send(NOTICE)
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    envelope = json.loads(message["Body"])
    assert envelope["Subject"] == "Ballast: A spending cap is reached"
    assert "docs/runbook.md#cap-reached" in envelope["Message"]


def test_an_unknown_topic_is_a_notifier_error(aws: None) -> None:
    sns = boto3.client("sns", region_name="us-east-1")
    with pytest.raises(NotifierError):
        SnsNotifier(sns, "arn:aws:sns:us-east-1:123456789012:gone").send(NOTICE)
