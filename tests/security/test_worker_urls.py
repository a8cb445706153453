"""A worker's url comes from Vast's record alone, and never points into anybody's own network."""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.observation import observe
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker

WORKER = Worker(endpoint_id=1, instance_id=7, autogroup_id=2, created_at=1.0)
INSIDE = (
    "127.0.0.1", "127.1", "0.0.0.0", "10.0.0.1", "172.16.9.9", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "169.254.170.2", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1",
    "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "64:ff9b::7f00:1", "2002:7f00:1::", "localhost", "metadata.google.internal", "evil.example",
    "0x7f000001", "2130706433", "0177.0.0.1", "8.8.8.8@127.0.0.1", "8.8.8.8/", "8.8.8.8:80",
    "8.8.8.8#", "8.8.8.8\\@127.0.0.1", "8.8.8.8 ,127.0.0.1", "8.8.8.8\n127.0.0.1", "\uff18.8.8.8",
)  # fmt: skip


def url_after(address: str, port: int = 41_234) -> object:
    """The url that a listing with this address gives the worker."""
    record = InstanceRecord(
        instance_id=7,
        label="llm - x",
        actual_status="running",
        cur_state="running",
        intended_status="running",
        public_ipaddr=address,
        ports={"3000/tcp": port},
    )
    return observe(WORKER, record, listed_at=100.0, now=100.0).changes.get("url")


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_a_network_is_never_routed_to(address: str) -> None:
    assert url_after(address) is None


@pytest.mark.parametrize("port", [0, -1, 65_536, 10**9])
def test_a_port_that_is_none_is_never_routed_to(port: int) -> None:
    assert url_after("8.8.8.8", port) is None


def test_a_public_address_is() -> None:
    assert url_after("8.8.8.8") == "https://8.8.8.8:41234"
    assert url_after(" 8.8.8.8 ") == "https://8.8.8.8:41234"
    assert url_after("2001:4860:4860::8888") == "https://[2001:4860:4860::8888]:41234"
