"""Notices by webhook: one POST of JSON to a public https address, pinned against DNS tricks."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence

import certifi
import urllib3

from chalicelib.core.safe_url import SafeUrl, UnsafeUrlError, check_address, check_webhook_url
from chalicelib.ports.notifier import Notice, NotifierError

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
