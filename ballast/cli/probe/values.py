"""Judging single values of answers, of which nothing is known beforehand."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TypeGuard

Json = Mapping[str, object]

DISK_GB = 8.0
IMAGE_GB = 0.01  # compressed, rounded up
COUNTED_S = 1_800.0  # of price and disk, under the cap
PORT = 3000


def worst_usd(row: Json, price: object) -> float | None:
    """What 30 minutes of price and disk and the image's bytes cost; None where it is not known."""
    storage, down = row.get("storage_cost", 0.0), row.get("inet_down_cost", 0.0)
    if not (is_cost(price) and is_cost(storage) and is_cost(down)):
        return None
    hours = COUNTED_S / 3600.0
    disk = float(str(storage)) * DISK_GB / 720.0
    return (float(str(price)) + disk) * hours + IMAGE_GB * float(str(down))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_cost(value: object) -> TypeGuard[float]:
    """Whether it is a price that may be believed."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def is_id(value: object) -> TypeGuard[int]:
    """Whether it can be an instance's id."""
    return isinstance(value, int) and not isinstance(value, bool)


def shape_of(value: object) -> str:
    """What kind of value it is, and how long; never what it holds."""
    return f"{type(value).__name__}{f' of {len(value)}' if isinstance(value, list | dict) else ''}"


def is_routed(address: str) -> bool:
    """Whether the internet can reach the address."""
    try:
        return ipaddress.ip_address(address).is_global or address.startswith("127.")
    except ValueError:
        return False


def host_port(row: Json) -> int | None:
    """The public port of ours, once it is mapped."""
    ports = row.get("ports")
    entries = ports.get(f"{PORT}/tcp") if isinstance(ports, dict) else None
    first = entries[0] if isinstance(entries, list) and entries else None
    text = str(first.get("HostPort", "")) if isinstance(first, dict) else ""
    return int(text) if text.isdecimal() and 0 < int(text) < 65_536 else None
