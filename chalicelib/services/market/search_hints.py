"""Why a search has no offers: the clauses that no offer of the market fits, and the nearest names.

Only clauses over what `Offer` carries can be judged; the others are left to Vast.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeGuard

from chalicelib.core.model.market import Offer, fits, plain_name
from chalicelib.wire.vast import MB_PER_GB

_WORDS = {"gte": ">=", "gt": ">", "lte": "<=", "lt": "<", "eq": "=", "neq": "!=", "notin": "not in"}
OFFER_FIELDS: Mapping[str, Callable[[Offer], object]] = {
    "gpu_name": lambda offer: plain_name(offer.gpu_name),
    "num_gpus": lambda offer: offer.num_gpus,
    "gpu_ram": lambda offer: offer.gpu_ram_gb * MB_PER_GB,
    "dph_total": lambda offer: offer.usd_per_hour,
    "dlperf": lambda offer: offer.dlperf,
    "reliability": lambda offer: offer.reliability,
    "reliability2": lambda offer: offer.reliability,
    "inet_down": lambda offer: offer.inet_down_mbps,
    "inet_down_cost": lambda offer: offer.inet_down_usd_per_gb,
    "inet_up_cost": lambda offer: offer.inet_up_usd_per_gb,
    "disk_space": lambda offer: offer.disk_space_gb,
    "direct_port_count": lambda offer: offer.direct_port_count,
    "verified": lambda offer: offer.verified,
    "machine_id": lambda offer: offer.machine_id,
    "host_id": lambda offer: offer.host_id,
}


def what_stands_in_the_way(
    query: Mapping[str, Mapping[str, object]], offers: Sequence[Offer]
) -> str:
    """A sentence for a search without offers; `offers`: a sample of the market, unfiltered."""
    if not offers:
        return "Vast shows no offer at all now, whatever the search"
    blocked = [
        f"{field} {_WORDS.get(operator, operator)} {_written(field, value)}"
        f"{_most(field, operator, offers)}"
        for field, clause in query.items()
        for operator, value in clause.items()
        if field in OFFER_FIELDS
        and not any(fits(OFFER_FIELDS[field](offer), operator, value) for offer in offers)
    ]
    if not blocked:
        return (
            f"no offer fits the search now: each part of it fits some of {len(offers)} offers, "
            "but none fits all; take a part away"
        )
    return f"no offer fits the search now: none has {', none '.join(blocked)}{_near(query, offers)}"


def _near(query: Mapping[str, Mapping[str, object]], offers: Sequence[Offer]) -> str:
    """The GPU names of the market nearest to one that is not there."""
    names = {plain_name(offer.gpu_name): offer.gpu_name for offer in offers}
    wanted = [value for value in query.get("gpu_name", {}).values() if isinstance(value, str)]
    near = [
        names[one]
        for value in wanted
        if plain_name(value) not in names
        for one in difflib.get_close_matches(plain_name(value), names, 3, 0.5)
    ]
    written = ", ".join(name.replace(" ", "_") for name in near)
    return f"; nearest: gpu_name={written}" if near else ""


def _most(field: str, operator: str, offers: Sequence[Offer]) -> str:
    """The bound that some offer still fits, where a number was asked for that none has."""
    choose = {"gte": max, "gt": max, "lte": min, "lt": min}.get(operator)
    there = [value for offer in offers if _is_number(value := OFFER_FIELDS[field](offer))]
    if choose is None or not there:
        return ""
    return f" ({'the most' if choose is max else 'the least'}: {_written(field, choose(there))})"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _written(field: str, value: object) -> str:
    """As an owner writes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(str(one) for one in value)}]"
    if not _is_number(value):
        return str(value)
    unit = " GB" if field == "gpu_ram" else ""
    value = value / MB_PER_GB if unit else value
    return f"{value:,.0f}{unit}" if value >= 1000 else f"{value:g}{unit}"
