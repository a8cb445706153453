"""Vast's rows → our values. Unknown fields are ignored, secrets are never copied (F.1, F.3)."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from math import floor

from chalicelib.adapters.vast.redaction import redact
from chalicelib.adapters.vast.values import finite, whole, written
from chalicelib.core.model.market import InstanceRecord, Offer
from chalicelib.ports.marketplace import Template
from chalicelib.wire.vast import MB_PER_GB

HOURS_PER_MONTH = 720.0  # storage_cost x GB / 720 is diskHour: tests/evidence/vast/search.json
MAX_TEXT_CHARS = 400  # a label of ours has 60; a row goes into items of bounded size
MAX_PORT_CHARS = 40

Row = Mapping[str, object]


class RowError(ValueError):
    """A row lacks something without which it cannot be used; the message names the field."""


def parse_offer(row: Row, disk_gb: float, now: float, *, is_bid: bool = False) -> Offer:
    """An offer; `disk_gb` is the storage that `dph_total` was asked for.

    Interruptible, its price is the least bid that wins and the disk: the row's own prices are
    those on demand (tests/evidence/vast/bid.json).

    Raises:
        RowError: no id, no GPU, a price that is none (Vast writes -1 for what it does not know),
            or anything in a number's place that is neither a finite number nor null.
    """
    storage_per_month = _cost(row, "storage_cost")
    duration_s, end_date = _cost(row, "duration"), _cost(row, "end_date")
    bid = _price(row, "min_bid") if is_bid else 0.0
    storage_usd_per_hour = storage_per_month * disk_gb / HOURS_PER_MONTH
    return Offer(
        offer_id=_integer(row, "id"),
        machine_id=_integer(row, "machine_id"),
        host_id=_integer(row, "host_id", 0),
        gpu_name=_required_text(row, "gpu_name"),
        num_gpus=_at_least_one(row, "num_gpus"),
        gpu_ram_gb=_stated(row, "gpu_ram") / MB_PER_GB,
        usd_per_hour=bid + storage_usd_per_hour if is_bid else _price(row, "dph_total"),
        storage_usd_per_hour=storage_usd_per_hour,
        dlperf=_stated(row, "dlperf"),
        reliability=_stated(row, "reliability2", _stated(row, "reliability", 1.0)),
        inet_down_mbps=_stated(row, "inet_down"),
        inet_down_usd_per_gb=_cost(row, "inet_down_cost"),
        inet_up_usd_per_gb=_cost(row, "inet_up_cost"),
        disk_space_gb=_stated(row, "disk_space"),
        direct_port_count=floor(_stated(row, "direct_port_count")),
        ends_at=end_date or (now + duration_s if duration_s else None),
        verified=is_verified(row),
        geolocation=_text(row, "geolocation"),
        is_bid=is_bid,
        bid_usd_per_hour=bid,
        on_demand_usd_per_hour=_price(row, "dph_total") if is_bid else 0.0,
    )


def parse_instance(row: Row) -> InstanceRecord:
    """An instance; `extra_env` and keys that a row may carry are left behind.

    Raises:
        RowError: no usable id.
    """
    return InstanceRecord(
        instance_id=_integer(row, "id"),
        label=_text(row, "label"),
        actual_status=_text(row, "actual_status") or None,
        intended_status=_text(row, "intended_status"),
        cur_state=_text(row, "cur_state"),
        status_msg=redact(_whole_text(row, "status_msg").strip())[:MAX_TEXT_CHARS],
        machine_id=_integer(row, "machine_id", 0),
        host_id=_integer(row, "host_id", 0),
        gpu_name=_text(row, "gpu_name"),
        num_gpus=_integer(row, "num_gpus", 1),
        dlperf=_number(row, "dlperf"),
        reliability=_number(row, "reliability2"),
        usd_per_hour=_number(row, "dph_total"),
        storage_usd_per_hour=_disk_price(row),
        inet_up_usd_per_gb=_number(row, "inet_up_cost"),
        inet_down_usd_per_gb=_number(row, "inet_down_cost"),
        public_ipaddr=_text(row, "public_ipaddr").strip(),
        ports=_ports(row.get("ports")),
        disk_space_gb=_number(row, "disk_space"),
        started_at=_number(row, "start_date"),
        ends_at=_end_of(row),
        template_hash=_text(row, "template_hash_id"),
        is_bid=row.get("is_bid") is True,
        bid_usd_per_hour=_number(row, "dph_base") if row.get("is_bid") is True else 0.0,
        geolocation=_text(row, "geolocation"),
    )


def _disk_price(row: Row) -> float:
    """$ per hour of an instance's disk; a row without the sum tells price and size apart."""
    told = _number(row, "storage_total_cost")
    apart = _number(row, "storage_cost") * _number(row, "disk_space") / HOURS_PER_MONTH
    return told if told > 0 else apart


def is_verified(row: Row) -> bool:
    """Whether an offer's machine is verified; rows carry `verification`, `verified` or both."""
    stated = row.get("verification")
    return stated == "verified" if isinstance(stated, str) else row.get("verified") is True


def parse_template(row: Row) -> Template:
    """A template; Vast gives `extra_filters` as an object or as its JSON text, `env` likewise.

    Raises:
        RowError: the id or hash is missing, or the filters cannot be parsed.
    """
    image, tag = _text(row, "image"), _text(row, "tag")
    return Template(
        template_id=_integer(row, "id"),
        hash_id=_required_text(row, "hash_id"),
        name=_text(row, "name"),
        image=f"{image}:{tag}" if tag and ":" not in image.rpartition("/")[2] else image,
        env=_docker_flags(row.get("env")),
        onstart=_whole_text(row, "onstart"),
        extra_filters=_filters(row.get("extra_filters")),
        disk_gb=written(row.get("recommended_disk_space")) or 0.0,
    )


def dict_rows(value: object) -> list[Row]:
    """The rows of a list answer.

    Raises:
        RowError: this is not a list of objects.
    """
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise RowError("not a list of objects")
    return value


def _filters(value: object) -> dict[str, Mapping[str, object]]:
    try:
        filters = json.loads(value) if isinstance(value, str) and value.strip() else value
    except ValueError as error:
        raise RowError("extra_filters: not JSON") from error
    if filters is None or filters == "":
        return {}
    if not isinstance(filters, dict) or not all(isinstance(v, dict) for v in filters.values()):
        raise RowError("extra_filters: not an object of conditions")
    return filters


def _ports(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    found = {name: _host_port(entries) for name, entries in value.items()}
    short = {str(name): port for name, port in found.items() if len(str(name)) <= MAX_PORT_CHARS}
    return {name: port for name, port in short.items() if port is not None}


def _host_port(entries: object) -> int | None:
    for entry in entries if isinstance(entries, Iterable) else ():
        text = str(entry.get("HostPort", "")) if isinstance(entry, dict) else ""
        if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65_536:
            return int(text)
    return None


def _text(row: Row, name: str) -> str:
    return _whole_text(row, name)[:MAX_TEXT_CHARS]


def _whole_text(row: Row, name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _required_text(row: Row, name: str) -> str:
    text = _text(row, name).strip()
    if not text:
        raise RowError(f"{name}: missing")
    return text


def _number(row: Row, name: str, default: float = 0.0) -> float:
    """A number of a row that must stay, whatever else it says: what is none counts as unknown."""
    number = finite(row.get(name))
    return default if number is None else number


def _stated(row: Row, name: str, default: float = 0.0) -> float:
    """A number, or the default where a row says nothing; what is neither makes it unusable."""
    if row.get(name) is None:
        return default
    number = finite(row[name])
    if number is None:
        raise RowError(f"{name}: not a number")
    return number


def _price(row: Row, name: str) -> float:
    price = _stated(row, name)
    if price <= 0:
        raise RowError(f"{name}: {row.get(name)!r} is not a price")
    return price


def _cost(row: Row, name: str) -> float:
    """What may be 0 or missing, but not negative: such a price would pay us in the books."""
    cost = _stated(row, name)
    if cost < 0:
        raise RowError(f"{name}: {cost:g} is below 0")
    return cost


def _at_least_one(row: Row, name: str) -> int:
    count = _integer(row, name)
    if count < 1:
        raise RowError(f"{name}: {count} is no machine")
    return count


def _docker_flags(env: object) -> str:
    """A template's environment as docker flags, in whichever of its two forms it came."""
    if not isinstance(env, Mapping):
        return env if isinstance(env, str) else ""
    flags = []
    for name, value in env.items():
        is_flag = str(name).startswith("-")
        flags.append(str(name) if is_flag else f"-e {name}={shlex.quote(str(value))}")
    return " ".join(flags)


def _integer(row: Row, name: str, default: int | None = None) -> int:
    value = whole(row.get(name))
    if value is not None:
        return value
    if default is None:
        raise RowError(f"{name}: {str(row.get(name))[:40]!r} is not a whole number")
    return default


def _end_of(row: Row) -> float | None:
    """When a contract ends; one that would end before it began says nothing."""
    ends_at = _optional_time(row, "end_date")
    return ends_at if ends_at and ends_at > _number(row, "start_date") else None


def _optional_time(row: Row, name: str) -> float | None:
    at = _number(row, name)
    return at if at > 0 else None
