"""Notices by SNS, which mails them to whoever subscribed to the deployment's topic."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import certifi
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.core.fleet.safe_url import (
    SafeUrl,
    UnsafeUrlError,
    check_address,
    check_webhook_url,
)
from chalicelib.ports.notifier import Notice, NotifierError

if TYPE_CHECKING:
    from types_boto3_sns import SNSClient


_MAX_SUBJECT = 100  # SNS refuses longer ones, and control characters


class SnsNotifier:
    """Publishes to one topic. `client` is boto3's SNS client with short timeouts."""

    name = "sns"

    def __init__(self, client: SNSClient, topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def send(self, notice: Notice) -> None:
        """Publish.

        Raises:
            NotifierError: SNS refused or is down.
        """
        facts = json.dumps(dict(notice.facts), indent=2, sort_keys=True, default=str)
        try:
            self._client.publish(
                TopicArn=self._topic_arn,
                Subject=_printable(f"Ballast: {notice.title}")[:_MAX_SUBJECT],
                Message=f"{notice.text}\n\nScope: {notice.scope}\n"
                f"What to do: {notice.runbook}\n\n{facts}\n",
            )
        except (ClientError, BotoCoreError) as error:
            raise NotifierError(f"SNS did not publish: {error}") from error


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
        self, url: str, *, resolve: Resolve | None = None, post: Post | None = None
    ) -> None:
        """Check the URL.

        Raises:
            UnsafeUrlError: the URL is one that we do not call.
        """
        self._url = check_webhook_url(url)
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
            status = self._post(self._url, addresses[0], _body(notice))
        except (UnsafeUrlError, OSError, urllib3.exceptions.HTTPError) as error:
            raise NotifierError(f"webhook to {self._url.host} failed: {error}") from error
        if not 200 <= status < 300:
            raise NotifierError(f"webhook to {self._url.host} answered HTTP {status}")


def resolve_name(host: str, port: int) -> Sequence[str]:
    """All addresses of a name, as text."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


def post_pinned(url: SafeUrl, address: str, body: bytes) -> int:
    """Post to this very address, with the certificate checked for the URL's name."""
    with urllib3.HTTPSConnectionPool(
        address,
        url.port,
        server_hostname=url.host,
        assert_hostname=url.host,
        cert_reqs="CERT_REQUIRED",
        ca_certs=certifi.where(),
        timeout=urllib3.Timeout(total=TIMEOUT_S),
    ) as pool:
        answer = pool.request(
            "POST",
            url.target,
            body=body,
            headers={"Host": url.host, "Content-Type": "application/json"},
            redirect=False,
            retries=False,
            preload_content=False,  # the answer's body is not ours to read
        )
        answer.release_conn()
        return answer.status


def _body(notice: Notice) -> bytes:
    message = {
        "text": f"Ballast: {notice.title} ({notice.scope}). {notice.text}",
        "title": notice.title,
        "kind": notice.kind,
        "scope": notice.scope,
        "at": notice.at,
        "runbook": notice.runbook,
        "facts": dict(notice.facts),
    }
    return json.dumps(message, default=str).encode()
