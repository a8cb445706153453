"""URLs that we may call: refuses every known way to make us call ourselves or a private network.

The shape is an allow list, so a trick that nobody thought of is refused too. A name that passes
may still resolve to a private address: the caller resolves it once, checks each address with
`check_address`, and connects to that very address (DNS pinning).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_URL = re.compile(
    r"https://(?P<host>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]{0,1900}(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)?"
)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOP_LABEL = re.compile(r"(?:[a-z]{2,63}|xn--[a-z0-9-]{1,59})")
_PRIVATE_TOPS = frozenset(
    {"localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "arpa"}
    | {"test", "invalid", "example", "onion", "localdomain"}
)
# Https, and its usual second port; nothing inside a network answers there unasked.
_ALLOWED_PORTS = frozenset({443, 8443})
_TRANSLATED = (  # networks whose addresses stand for others, which we would then reach
    ipaddress.ip_network("64:ff9b::/96"),
    ipaddress.ip_network("64:ff9b:1::/48"),
    ipaddress.ip_network("2002::/16"),
    ipaddress.ip_network("2001::/32"),
    ipaddress.ip_network("::/96"),
)
_NOT_GLOBAL = (  # which Python 3.11 takes for global
    ipaddress.ip_network("192.0.0.0/24"),  # of protocols, RFC 6890; one cloud has metadata there
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
    ipaddress.ip_network("fec0::/10"),  # site-local, RFC 3879
    ipaddress.ip_network("3fff::/20"),  # documentation, RFC 9637
    ipaddress.ip_network("5f00::/16"),  # segment routing, RFC 9602
)


class UnsafeUrlError(ValueError):
    """A URL or address that we do not call; the message says why."""


@dataclass(frozen=True, slots=True)
class SafeUrl:
    """A checked https URL in the parts a connection needs."""

    host: str  # lower-case DNS name
    port: int
    target: str  # path and query


def check_webhook_url(url: str) -> SafeUrl:
    """The parts of a URL that is https, names a public host, and holds nothing surprising.

    Raises:
        UnsafeUrlError: for anything else, with what is allowed.
    """
    match = _URL.fullmatch(url) if len(url) <= 2_000 else None
    if match is None:
        raise UnsafeUrlError(
            "webhook URL refused; allowed: https://public.name/path?query, without user name, "
            "fragment, IPv6 literal, spaces or other characters outside RFC 3986"
        )
    host = match["host"].lower()
    labels = host.split(".")
    if len(labels) < 2 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UnsafeUrlError(f"webhook host {host!r} is not a full DNS name")
    if not _TOP_LABEL.fullmatch(labels[-1]):
        raise UnsafeUrlError(f"webhook host {host!r} is a number; use a DNS name")
    if labels[-1] in _PRIVATE_TOPS:
        raise UnsafeUrlError(f"webhook host {host!r} is not a public name")
    port = int(match["port"] or 443)
    if port not in _ALLOWED_PORTS:
        raise UnsafeUrlError(f"webhook port {port} refused; allowed: 443, 8443")
    return SafeUrl(host=host, port=port, target=match["target"] or "/")


def check_address(text: str) -> str:
    """The address in canonical form if it is one global unicast address.

    Raises:
        UnsafeUrlError: for loopback, private, link-local, shared, reserved, multicast, mapped,
            translated, scoped or odd notations.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise UnsafeUrlError(f"{text!r} is not an IP address") from error
    if isinstance(address, ipaddress.IPv6Address) and (
        address.scope_id or address.ipv4_mapped or any(address in net for net in _TRANSLATED)
    ):
        raise UnsafeUrlError(f"address {text} stands for another address")
    is_ours_to_refuse = any(address in net for net in _NOT_GLOBAL)
    if not address.is_global or address.is_multicast or address.is_reserved or is_ours_to_refuse:
        raise UnsafeUrlError(f"address {text} is not a public address")
    return str(address)
