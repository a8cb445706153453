"""Which requests the proxy answers: none that a foreign web page made a browser send. Pure.

The proxy spends its own key, so that a page anywhere could spend it, too: with a form (no JSON), by
`fetch` (an Origin), or under a name of its own that it lets point at this machine (a Host).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_AUTHORITY = r"(\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z]+)?\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?"
_HOST = re.compile(_AUTHORITY)
_ORIGIN = re.compile("[a-z][a-z0-9+.-]*://" + _AUTHORITY)
"""RFC 9110, 7.2 and RFC 6454, 7.1: no user, no path, no list. What has them comes of no browser,
and readers of addresses differ in which part of it names the host."""

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
        host = _name_in(_HOST, headers.get("Host", ""))
        if not (_is_local(host) or _is_address(host) or host in self.hosts):
            raise ForeignRequestError(
                403,
                f"this proxy is not called {headers.get('Host', '')[:100]!r}: "
                "start it with --allow-host",
            )
        origin = headers.get("Origin")
        if origin is not None and not self.allows(origin):
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
        return origin in self.origins or _is_local(_name_in(_ORIGIN, origin))


def told_of(hosts: Sequence[str], origins: Sequence[str], target: str) -> dict[str, str]:
    """Whose page asks, and for whom: all that says so, for a reader may believe any of it.

    Several are none. A whole address for a target counts like a Host (RFC 9112, 3.2.2).
    """
    if not target.startswith("/"):
        hosts = list(dict.fromkeys([*hosts, target.partition("://")[2].partition("/")[0]]))
    told = {"Host": ", ".join(hosts)}
    if origins:
        told["Origin"] = ", ".join(origins)
    return told


def _name_in(form: re.Pattern[str], text: str) -> str:
    """The host's name; "" of what does not have this form."""
    found = form.fullmatch(text)
    return found[1].strip("[]").rstrip(".").lower() if found else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_local(name: str) -> bool:
    return name == "localhost" or (_is_address(name) and ipaddress.ip_address(name).is_loopback)
