"""Notices on their way out: by SNS, and by one POST to a public https address.

Receivers are rows of the table `config`, e-mail addresses subscriptions of the deployment's topic.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import certifi
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.aws.clients import storage_errors
from chalicelib.adapters.aws.tables import CONFIG
from chalicelib.core.fleet.safe_url import (
    SafeUrl,
    UnsafeUrlError,
    check_address,
    check_webhook_url,
)
from chalicelib.deadline import Deadline
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.ports.notifier import CHANNELS, Notice, NotifierError, Receiver, Receivers

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_sns import SNSClient

_KIND = "receiver"  # of rows in the table `config`
_TOPIC = "#topic"  # the row of the topic; no name of a receiver begins so
_MAX_SUBJECT = 100  # SNS refuses longer ones, and control characters


class OwnerNotifier:
    """Tells the owner: by the topic where there is one, else straight to each receiver.

    A notice that reaches no confirmed receiver has told nobody, and is a failure.
    """

    name = "owner"

    def __init__(self, receivers: Receivers) -> None:
        self._receivers = receivers

    def send(self, notice: Notice) -> None:
        """Hand the notice on.

        Raises:
            NotifierError: nobody was told.
        """
        try:
            confirmed = [one for one in self._receivers.receivers() if one.is_confirmed]
            has_topic = bool(self._receivers.topic())
        except StorageUnavailableError as error:
            raise NotifierError(f"the receivers cannot be read: {error}") from error
        if has_topic:
            self._receivers.publish(notice)
        if not confirmed:
            raise NotifierError(
                "no receiver is confirmed; run `ballast notify add email you@example.com`"
            )
        if not has_topic:
            self._deliver(confirmed, notice)

    def _deliver(self, receivers: Sequence[Receiver], notice: Notice) -> None:
        """To each of them, whatever becomes of the others."""
        outcomes = self._receivers.deliver(receivers, [notice]).values()
        problems = [problem for outcome in outcomes for problem in outcome if problem]
        if len(problems) == len(receivers):
            raise NotifierError("; ".join(problems))


class DynamoReceivers:
    """Receivers on the table PREFIX-config and the topic that it names."""

    def __init__(self, client: DynamoDBClient, prefix: str, sns: Callable[[], SNSClient]) -> None:
        self._client = client
        self._table = CONFIG.full_name(prefix)
        self._sns = sns

    def receivers(self) -> Sequence[Receiver]:
        """All, by name."""
        rows = self._rows()
        topic = rows.pop(_TOPIC, {}).get("address", "")
        webhooks = [
            Receiver(name=name, channel=row["channel"], address=row["address"])
            for name, row in rows.items()
        ]
        return sorted([*webhooks, *self._mails(topic)], key=lambda one: one.name)

    def add(self, receiver: Receiver) -> None:
        """One more, or another address under a known name."""
        if receiver.channel != "email":
            row = {"channel": receiver.channel, "address": receiver.address}
            self._put(receiver.name, row)
            return
        topic = self.topic()
        if not topic:
            raise NotifierError("this deployment has no alert topic to mail from; use a webhook")
        with _sns_errors():
            self._sns().subscribe(TopicArn=topic, Protocol="email", Endpoint=receiver.address)

    def remove(self, name: str) -> bool:
        """Whether there was one that can be removed."""
        rows = self._rows()
        if name in rows and name != _TOPIC:
            with storage_errors():
                self._client.delete_item(TableName=self._table, Key=_key(name))
            return True
        topic = rows.get(_TOPIC, {}).get("address", "")
        arns = {address: arn for address, arn in self._subscriptions(topic)}
        if not arns.get(name, "").startswith("arn:"):
            return False  # AWS forgets an address that nobody confirms by itself
        with _sns_errors():
            self._sns().unsubscribe(SubscriptionArn=arns[name])
        return True

    def topic(self) -> str:
        """The deployment's alert topic (ARN); "" without one."""
        return str(self._rows().get(_TOPIC, {}).get("address", ""))

    def remember_topic(self, arn: str) -> None:
        """Set the topic."""
        self._put(_TOPIC, {"channel": "topic", "address": arn})

    def publish(self, notice: Notice) -> None:
        """Hand a notice to the topic, which mails it and calls the notifier function."""
        facts = json.dumps(dict(notice.facts), indent=2, sort_keys=True, default=str)
        topic = self.topic()
        if not topic:
            raise NotifierError("this deployment has no alert topic")
        with _sns_errors():
            self._sns().publish(
                TopicArn=topic,
                Subject=_printable(f"Ballast: {notice.title}")[:_MAX_SUBJECT],
                Message=f"{notice.text}\n\nScope: {notice.scope}\n"
                f"What to do: {notice.runbook}\n\n{facts}\n",
                MessageAttributes={
                    "notice": {"DataType": "String", "StringValue": _body(notice).decode()}
                },
            )

    def deliver(
        self, receivers: Sequence[Receiver], notices: Sequence[Notice]
    ) -> Mapping[str, Sequence[str]]:
        """Post notices, in a thread for each receiver: one that hangs delays no other."""
        if not receivers:
            return {}
        with ThreadPoolExecutor(max_workers=len(receivers)) as threads:
            told = [threads.submit(_post_all, one, notices) for one in receivers]
            return {one.name: each.result() for one, each in zip(receivers, told, strict=True)}

    def _mails(self, topic: str) -> list[Receiver]:
        return [
            Receiver(
                name=address,
                channel="email",
                address=address,
                is_confirmed=arn.startswith("arn:"),  # else "PendingConfirmation"
            )
            for address, arn in self._subscriptions(topic)
        ]

    def _subscriptions(self, topic: str) -> list[tuple[str, str]]:
        if not topic:
            return []
        with _sns_errors():
            pages = self._sns().get_paginator("list_subscriptions_by_topic")
            return [
                (row["Endpoint"], row["SubscriptionArn"])
                for page in pages.paginate(TopicArn=topic)
                for row in page["Subscriptions"]
                if row["Protocol"] == "email"
            ]

    def _rows(self) -> dict[str, dict[str, str]]:
        with storage_errors():
            answer = self._client.query(
                TableName=self._table,
                ConsistentRead=True,
                KeyConditionExpression="kind = :kind",
                ExpressionAttributeValues={":kind": {"S": _KIND}},
            )
        read = {item["id"]["S"]: _row(item) for item in answer["Items"]}
        return {name: row for name, row in read.items() if row is not None}

    def _put(self, name: str, row: dict[str, str]) -> None:
        with storage_errors():
            item = {**_key(name), "body": {"S": json.dumps(row)}}
            self._client.put_item(TableName=self._table, Item=item)


def _post_all(receiver: Receiver, notices: Sequence[Notice]) -> list[str]:
    problems = []
    for notice in notices:
        problem = ""
        try:
            WebhookNotifier(receiver.address, channel=receiver.channel).send(notice)
        except (UnsafeUrlError, NotifierError) as error:
            problem = f"{receiver.name}: {error}"
        problems.append(problem)
    return problems


def _row(item: Mapping[str, Any]) -> dict[str, str] | None:
    """A row's channel and address; None for a form of another version, which tells by itself."""
    try:
        row = json.loads(item["body"]["S"])
        found = {"channel": row["channel"], "address": row["address"]}
    except (KeyError, TypeError, ValueError):
        return None
    is_known = found["channel"] in (*CHANNELS, "topic") and isinstance(found["address"], str)
    return found if is_known else None


def _key(name: str) -> dict[str, Any]:
    return {"kind": {"S": _KIND}, "id": {"S": name}}


@contextmanager
def _sns_errors() -> Iterator[None]:
    """Around SNS calls.

    Raises:
        NotifierError: SNS refused or is down.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise NotifierError(f"SNS: {error}") from error


def _printable(text: str) -> str:
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


# Notices by webhook: one POST of JSON to a public https address, pinned against DNS tricks.

TIMEOUT_S = 5.0

Resolve = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a host name; may raise OSError."""

Post = Callable[[SafeUrl, str, bytes], int]
"""Sends a body to an address under a name; gives the HTTP status. May raise HTTPError."""


class WebhookNotifier:
    """Posts `{"title", "text", …}` to the owner's URL; `text` alone suits chat services.

    The name is resolved once per notice, every address must be public, and the connection goes to
    the address that was checked; redirects are not followed.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        *,
        channel: str = "webhook",
        resolve: Resolve | None = None,
        post: Post | None = None,
    ) -> None:
        """Check the URL. `channel` says in which shape its service wants the notice.

        Raises:
            UnsafeUrlError: the URL is one that we do not call.
        """
        self._url = check_webhook_url(url)
        self._channel = channel
        self._resolve = resolve or resolve_name
        self._post = post or post_pinned

    def send(self, notice: Notice) -> None:
        """Post.

        Raises:
            NotifierError: unsafe address, no connection, or a status other than 2xx.
        """
        try:
            addresses = [
                check_address(one) for one in self._resolve(self._url.host, self._url.port)
            ]
            if not addresses:
                raise NotifierError(f"webhook host {self._url.host} has no address")
            status = self._post(self._url, addresses[0], body_for(self._channel, notice))
        except (UnsafeUrlError, OSError, urllib3.exceptions.HTTPError) as error:
            raise NotifierError(f"webhook to {self._url.host} failed: {error}") from error
        if not 200 <= status < 300:
            raise NotifierError(f"webhook to {self._url.host} answered HTTP {status}")


def resolve_name(host: str, port: int) -> Sequence[str]:
    """All addresses of a name, as text."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def post_pinned(
    url: SafeUrl, address: str, body: bytes, *, authorities: str = "", total_s: float = TIMEOUT_S
) -> int:
    """Post to this very address, with the certificate checked for the URL's name.

    The status is here `total_s` after the call began, however slowly the receiver drips, or there
    is none. `authorities`: a file of those who may sign certificates; "": the usual ones.
    """
    with (
        Deadline(total_s) as deadline,
        urllib3.HTTPSConnectionPool(
            address,
            url.port,
            server_hostname=url.host,
            assert_hostname=url.host,
            cert_reqs="CERT_REQUIRED",
            ca_certs=authorities or certifi.where(),
            timeout=urllib3.Timeout(total=total_s),
        ) as pool,
    ):
        deadline.watch(pool)
        answer = pool.request(
            "POST",
            url.target,
            body=body,
            headers={"Host": url.host, "Content-Type": "application/json"},
            redirect=False,
            retries=False,
            preload_content=False,  # the answer's body is not ours to read
        )
        if deadline.is_past:  # what was cut off reads like headers that end
            raise TimeoutError(f"no answer within {total_s:g} s")
        answer.release_conn()
        return answer.status


_DISCORD_LIMIT = 2_000  # letters of a message; a longer one is refused


def body_for(channel: str, notice: Notice) -> bytes:
    """The JSON that a channel's service takes; a webhook of one's own gets everything."""
    text = f"Ballast: {notice.title} ({notice.scope}). {notice.text}"
    hint = f"{text}\nWhat to do: {notice.runbook}" if notice.runbook else text
    if channel == "slack":
        return json.dumps({"text": hint}).encode()
    if channel == "discord":
        short = hint if len(hint) <= _DISCORD_LIMIT else hint[: _DISCORD_LIMIT - 1] + "…"
        return json.dumps({"content": short, "allowed_mentions": {"parse": []}}).encode()
    return _body(notice)


def _body(notice: Notice) -> bytes:
    message = {
        "text": f"Ballast: {notice.title} ({notice.scope}). {notice.text}",
        "title": notice.title,
        "message": notice.text,
        "kind": notice.kind,
        "scope": notice.scope,
        "at": notice.at,
        "runbook": notice.runbook,
        "facts": dict(notice.facts),
    }
    return json.dumps(message, default=str).encode()
