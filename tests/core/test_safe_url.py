# ruff: noqa: RUF001  look-alike letters are the point
"""Safe URLs: what a webhook may be, and the tricks that are refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.fleet.safe_url import (
    SafeUrl,
    UnsafeUrlError,
    check_address,
    check_webhook_url,
)

TRICKS = """
http://hooks.ballast-owner.com/x
ftp://hooks.ballast-owner.com/x
file:///etc/passwd
gopher://hooks.ballast-owner.com/x
https:///x
https:hooks.ballast-owner.com
//hooks.ballast-owner.com/x
https://127.0.0.1/
https://127.1/
https://2130706433/
https://0x7f000001/
https://0x7f.0.0.1/
https://0177.0.0.1/
https://017700000001/
https://0/
https://0.0.0.0/
https://10.0.0.1/
https://172.16.0.1/
https://192.168.1.1/
https://169.254.169.254/latest/meta-data/
https://169.254.169.254.:443/
https://8.8.8.8/
https://1.1.1.1.1/
https://[::1]/
https://[::ffff:127.0.0.1]/
https://[fd00:ec2::254]/latest
https://[fe80::1%25eth0]/
https://localhost/
https://localhost./
https://LOCALHOST/
https://localhost.localdomain/
https://metadata.google.internal/
https://printer.local/
https://router.lan/
https://intranet/
https://service.consul.internal/
https://1.0.0.127.in-addr.arpa/
https://user@hooks.ballast-owner.com/
https://user:word@hooks.ballast-owner.com/
https://hooks.ballast-owner.com@127.0.0.1/
https://127.0.0.1#@hooks.ballast-owner.com/
https://hooks.ballast-owner.com#@127.0.0.1/
https://hooks.ballast-owner.com\\@127.0.0.1/
https://127.0.0.1\\.hooks.ballast-owner.com/
https://hooks.ballast-owner.com%2f@127.0.0.1/
https://hooks.ballast-owner.com%00.evil.com/
https://hooks.ballast-owner.com:22/
https://hooks.ballast-owner.com:80/
https://hooks.ballast-owner.com:6379/
https://hooks.ballast-owner.com:99999/
https://hooks.ballast-owner.com:0443443/
https://hooks.ballast-owner.com:/
https://hooks.ballast-owner.com:443:443/
https://.ballast-owner.com/
https://hooks..ballast-owner.com/
https://-hooks.ballast-owner.com/
https://hooks-.ballast-owner.com/
https://hooks_x.ballast-owner.com/
https://ballast-owner.com../
https://①②⑦.⓪.⓪.①/
https://ⓛocalhost/
https://127。0。0。1/
https://hooks.bаllast-owner.com/
https://hooks.ballast-owner.com/\u202e
https:// hooks.ballast-owner.com/
 https://hooks.ballast-owner.com/
https://hooks.ballast-owner.com/a b
https://hooks.ballast-owner.com/\t
https://hooks.ballast-owner.com?x=1
https://hooks.ballast-owner.com/#fragment
https://hooks.ballast-owner.com/<script>
https://hooks.ballast-owner.com/"
javascript:alert(1)
data:text/plain,x
""".strip("\n").split("\n")


@pytest.mark.parametrize("url", TRICKS)
def test_a_url_trick_is_refused(url: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_webhook_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.ballast-owner.com/x\nHost: evil",
        "https://hooks.ballast-owner.com/x\r\n",
        "https://hooks.ballast-owner.com/x\x00",
        "https://hooks.ballast-owner.com/" + "a" * 2000,
        "https://" + "a" * 64 + ".com/",
        "",
    ],
)
def test_control_characters_and_endless_urls_are_refused(url: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_webhook_url(url)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://hooks.chat.com", SafeUrl("hooks.chat.com", 443, "/")),
        ("https://Hooks.Chat.COM/a/B?c=d&e=%20", SafeUrl("hooks.chat.com", 443, "/a/B?c=d&e=%20")),
        ("https://ops.firm.io:8443/in", SafeUrl("ops.firm.io", 8443, "/in")),
        ("https://xn--bcher-kva.xn--p1ai/", SafeUrl("xn--bcher-kva.xn--p1ai", 443, "/")),
    ],
)
def test_an_ordinary_https_url_passes(url: str, parts: SafeUrl) -> None:
    assert check_webhook_url(url) == parts


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.31.0.1", "192.168.0.1",
        "169.254.169.254", "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1",
        "fec0::1", "3fff::1", "192.0.0.8", "192.0.0.192", "5f00::1", "192.88.99.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:8.8.8.8",
        "::ffff:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::",
        "2001::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1",
        "0177.0.0.1", "1", "localhost", "",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    with pytest.raises(UnsafeUrlError):
        check_address(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111"])
def test_a_public_address_passes(address: str) -> None:
    assert check_address(address) == address


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_passes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Law: what passes is global by Python's own tables."""
    try:
        check_address(str(address))
    except UnsafeUrlError:
        return
    assert address.is_global
    assert not address.is_multicast
