"""Messages of Vast's API as Ballast sends them: paths, parameters and bodies (protocol.md F)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from chalicelib.wire.json_body import WireError

PAGE_SIZE = 25
"""Instances on a page of the v1 listing, at most."""

MB_PER_GB = 1_000.0  # Vast counts gpu_ram in MB, 1000 to the GB (protocol.md F.1)
MAX_BULK_IDS = 64
MAX_LABEL_CHARS = 256
MAX_ENV_CHARS = 256
MAX_ENV_TOTAL_CHARS = 32_768
MAX_IMAGE_CHARS = 1_024
MAX_ONSTART_CHARS = 4_096
MIN_DISK_GB = 8.0
MIN_BID_USD, MAX_BID_USD, MAX_CHANGED_BID_USD = 0.001, 128.0, 32.0
"""Dollars an hour for the whole machine: at a create, and at a change (tests/evidence/vast)."""

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|-p [0-9]{1,5}(?::[0-9]{1,5})?(?:/tcp|/udp)?")
_TEMPLATE_HASH = re.compile(r"[A-Za-z0-9_-]{1,64}")

SearchQuery = Mapping[str, Mapping[str, object]]


def search_body(
    query: SearchQuery, *, disk_gb: float, limit: int, is_bid: bool = False
) -> dict[str, object]:
    """The body of `POST /api/v0/bundles/`: rentable now, priced with our disk (F.1).

    On demand, or with `is_bid` interruptible: then in the order of the least bid that wins.

    A port is always needed, and what the query says about the others rules. A condition on `id`
    goes out as `ask_contract_id`: at Vast, `id` matches no offer at all.
    """
    conditions = {("ask_contract_id" if name == "id" else name): c for name, c in query.items()}
    return {
        "direct_port_count": {"gte": 1},
        "rented": {"eq": False},
        **conditions,
        "rentable": {"eq": True},
        "order": [["min_bid" if is_bid else "dph_total", "asc"]],
        "type": "bid" if is_bid else "on-demand",
        "allocated_storage": disk_gb,
        "limit": limit,
    }


def listing_params(after_token: str | None) -> dict[str, str]:
    """The parameters of one page of `GET /api/v1/instances/` (F.3)."""
    params = {
        "select_filters": "{}",
        "order_by": json.dumps([{"col": "id", "dir": "asc"}]),
        "limit": str(PAGE_SIZE),
    }
    return params if after_token is None else {**params, "after_token": after_token}


def template_params(hash_id: str) -> dict[str, str]:
    """The parameters of `GET /api/v0/template/` for one hash.

    Raises:
        WireError: this cannot be a template's hash.
    """
    return {
        "select_cols": json.dumps(["*"]),
        "select_filters": json.dumps({"hash_id": {"eq": _check_template_hash(hash_id)}}),
    }


def create_body(
    *,
    label: str,
    template_hash: str | None,
    disk_gb: float,
    env: Mapping[str, str],
    options: Mapping[str, object],
    bid_usd_per_hour: float | None = None,
) -> dict[str, object]:
    """The body of `PUT /api/v0/asks/ID/` (F.2); `options`: image, onstart, and launch arguments.

    A bid rents an interruptible machine. `cancel_unavail` is always true, so that an offer that
    cannot start now makes no contract.
    `options` never override what Ballast sets.

    Raises:
        WireError: over one of Vast's limits, or a label or variable that could be misread.
    """
    _check_label(label)
    _check_env(env)
    _check_length("image", str(options.get("image") or ""), MAX_IMAGE_CHARS)
    _check_length("onstart", str(options.get("onstart") or ""), MAX_ONSTART_CHARS)
    if disk_gb < MIN_DISK_GB:
        raise WireError(f"disk: {disk_gb:g} GB; Vast allows: from {MIN_DISK_GB:g} GB")
    own: dict[str, object] = {
        "client_id": "me",
        "env": dict(env),
        "disk": disk_gb,
        "label": label,
        "cancel_unavail": True,
        "force": False,
        "price": None if bid_usd_per_hour is None else bid_price(bid_usd_per_hour, MAX_BID_USD),
    }
    if template_hash is not None:
        own["template_hash_id"] = _check_template_hash(template_hash)
    return {**options, **own}


def bid_price(usd_per_hour: float, most: float = MAX_CHANGED_BID_USD) -> float:
    """A bid as Vast keeps it: whole thousandths of a dollar, rounded up so that it still wins.

    Raises:
        WireError: outside of what Vast takes.
    """
    if not MIN_BID_USD <= usd_per_hour <= most:
        raise WireError(f"bid: {usd_per_hour!r}; Vast allows: from {MIN_BID_USD:g} to {most:g}")
    return math.ceil(round(usd_per_hour * 1_000, 6)) / 1_000


def bulk_batches(instance_ids: Sequence[int]) -> list[list[int]]:
    """The ids without repetitions in batches that one bulk call may carry."""
    ids = list(dict.fromkeys(instance_ids))
    return [ids[i : i + MAX_BULK_IDS] for i in range(0, len(ids), MAX_BULK_IDS)]


def _check_label(label: str) -> None:
    _check_length("label", label, MAX_LABEL_CHARS)
    if not label.strip() or not label.isprintable() or not label.isascii():
        raise WireError(f"label: {label!r} must be printable ASCII and not blank")


def _check_env(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise WireError(f"env: {name!r} is neither a variable nor '-p PORT:PORT'")
        if len(name) > MAX_ENV_CHARS or len(value) > MAX_ENV_CHARS:
            raise WireError(f"env {name}: {len(value)} characters; allowed: {MAX_ENV_CHARS}")
        if "\x00" in value or "\n" in value or "\r" in value:
            raise WireError(f"env {name}: line breaks and NUL are not allowed")
    _check_length("env", "".join(f"{k}{v}" for k, v in env.items()), MAX_ENV_TOTAL_CHARS)


def _check_length(name: str, text: str, limit: int) -> None:
    if len(text) > limit:
        raise WireError(f"{name}: {len(text)} characters; Vast allows {limit}")


def _check_template_hash(hash_id: str) -> str:
    if not _TEMPLATE_HASH.fullmatch(hash_id):
        raise WireError(f"template_hash: {hash_id!r} is not a template's hash")
    return hash_id
