"""Which requests the proxy answers: none that a foreign web page made a browser send. Pure.

The proxy spends its own key, so that a page anywhere could spend it, too: with a form (no JSON), by
`fetch` (an Origin), or under a name of its own that it lets point at this machine (a Host).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

JSON, FORM = "application/json", "multipart/form-data"


class ForeignRequestError(Exception):
    """The request is refused; status and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Guard:
    """`hosts`: names under which the proxy is reached, besides addresses and localhost.

    `origins`: web pages that may use it, as browsers write them (`https://chat.example`).
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def check(self, headers: Mapping[str, str]) -> None:
        """Refuse what a foreign page made.

        Raises:
            ForeignRequestError: with what to change.
        """
        host = _name_of("//" + headers.get("Host", ""))
        if not (_is_local(host) or _is_address(host) or host in self.hosts):
            raise ForeignRequestError(
                403, f"this proxy is not called {host[:100]!r}: start it with --allow-host"
            )
        origin = headers.get("Origin", "")
        if origin and not self.allows(origin):
            raise ForeignRequestError(
                403,
                f"pages of {origin[:100]!r} may not use this proxy: start it with --allow-origin",
            )

    def check_body(self, content_type: str, *, takes_form: bool) -> None:
        """Refuse a body that a page may send without asking the browser.

        Raises:
            ForeignRequestError: with what to send.
        """
        if content_type == JSON or (takes_form and content_type == FORM):
            return
        raise ForeignRequestError(415, f"send Content-Type: {FORM if takes_form else JSON}")

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may use the proxy: those of this machine, and the named."""
        return origin in self.origins or _is_local(_name_of(origin))


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
