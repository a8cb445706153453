"""Offers: machines one may rent now, at a price."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """A marketplace offer, as far as Ballast uses it. Money in US dollars, sizes in GB."""

    offer_id: int
    machine_id: int
    host_id: int
    gpu_name: str
    num_gpus: int
    gpu_ram_gb: float
    usd_per_hour: float  # GPU and the storage asked for, while running
    storage_usd_per_hour: float  # while stopped
    dlperf: float
    reliability: float = 1.0
    inet_down_mbps: float = 0.0
    inet_down_usd_per_gb: float = 0.0
    inet_up_usd_per_gb: float = 0.0
    disk_space_gb: float = 0.0
    direct_port_count: int = 0
    ends_at: float | None = None  # contracts on this machine end by then
    verified: bool = False
    geolocation: str = ""
    is_bid: bool = False  # interruptible: `usd_per_hour` is the bid and the storage
    bid_usd_per_hour: float = 0.0  # for the whole machine; in a search the least that wins now
    bid_margin: float = 1.0  # what is bid over the least that wins
    on_demand_usd_per_hour: float = 0.0  # of an interruptible one: what the machine costs otherwise
    load_s: float = field(default=0.0, compare=False)  # from create to ready, predicted; 0 = not

    @property
    def gpu_type(self) -> str:
        """GPU model and count, the unit in which perf is learned: '2x RTX 4090'."""
        return f"{self.num_gpus}x {self.gpu_name}"


# Instances as the marketplace lists them, and what one listing showed.


MAX_SAID_CHARS = 200  # chosen: of a host's words, a line of a notice


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceRecord:
    """An instance as Vast lists it (protocol.md F.3). Secrets in `extra_env` are not kept."""

    instance_id: int
    label: str
    actual_status: str | None
    intended_status: str
    cur_state: str
    status_msg: str = ""
    machine_id: int = 0
    host_id: int = 0
    gpu_name: str = ""
    num_gpus: int = 1
    dlperf: float = 0.0
    reliability: float = 0.0
    usd_per_hour: float = 0.0  # dph_total
    storage_usd_per_hour: float = 0.0
    inet_up_usd_per_gb: float = 0.0
    inet_down_usd_per_gb: float = 0.0
    public_ipaddr: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)  # "3000/tcp" -> host port
    disk_space_gb: float = 0.0
    started_at: float = 0.0  # start_date
    ends_at: float | None = None  # end_date
    template_hash: str = ""
    is_bid: bool = False  # interruptible
    bid_usd_per_hour: float = 0.0  # the standing bid (`dph_base`); 0 on demand
    geolocation: str = ""

    @property
    def said(self) -> str:
        """Its status and what its host says, as an owner reads it: "loading: Pulling from tgi"."""
        words = f": {self.status_msg[:MAX_SAID_CHARS]}" if self.status_msg else ""
        return f"{self.actual_status}{words}"

    @property
    def tells_price(self) -> bool:
        """Whether it says what the GPU costs: stopped, it may tell the disk alone.

        Such a row: record show-abandoned-2026 (tests/evidence/vast/show.json).
        """
        has_disk = self.storage_usd_per_hour > 0 or self.intended_status != "stopped"
        return has_disk and self.usd_per_hour > self.storage_usd_per_hour


NO_PAGES: Mapping[str, object] = MappingProxyType({})
"""What a listing goes on from that begins with its first page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceListing:
    """What one listing showed. `is_complete`: every page came, totals agree, no id twice."""

    started_at: float
    ended_at: float
    is_complete: bool
    instances: tuple[InstanceRecord, ...] = ()
    problem: str = ""  # why it is not complete
    so_far: Mapping[str, object] = field(default_factory=dict)
    """What the next call goes on from, if pages are only late; plain values, for JSON."""
    is_under_way: bool = False  # it has more pages than its call had time for, and no other problem


# What may be true of a marketplace's row: whatever is outside is no price, no size and no moment.

MAX_YEARS = 30 * 365 * 86_400.0
"""The longest contract recorded lasts 8.7 years (tests/evidence/vast)."""

OFFER_BOUNDS: Mapping[str, tuple[float, float]] = {
    "usd_per_hour": (1e-4, 1e3),  # recorded: 0.02 to 2
    "storage_usd_per_hour": (0.0, 100.0),
    "bid_usd_per_hour": (0.0, 1e3),
    "inet_down_usd_per_gb": (0.0, 10.0),  # recorded: 0.0012 to 0.011
    "inet_up_usd_per_gb": (0.0, 10.0),
    "num_gpus": (1.0, 1024.0),
    "gpu_ram_gb": (0.0, 1e5),
    "dlperf": (0.0, 1e6),  # recorded: 21 to 222
    "reliability": (0.0, 1.0),
    "inet_down_mbps": (0.0, 1e7),
    "disk_space_gb": (0.0, 1e7),
    "direct_port_count": (0.0, 65_536.0),
    "on_demand_usd_per_hour": (0.0, 1e3),  # 0: unknown
}
"""Least and most: a few hundred times what was recorded, so that no real row is refused."""

MIN_BID_USD, MAX_BID_USD, MAX_CHANGED_BID_USD = 0.001, 128.0, 32.0
"""What Vast takes at a create, and at a change (tests/evidence/vast/README.md)."""


def kept_bid(usd_per_hour: float) -> float:
    """A bid as Vast keeps and bills it: whole thousandths of a dollar, rounded up to still win."""
    return math.ceil(round(usd_per_hour * 1_000, 6)) / 1_000


def at_kept_bid(offer: Offer) -> Offer:
    """An interruptible offer at what its bid will cost; one on demand as it is."""
    if not offer.is_bid:
        return offer
    bid = kept_bid(offer.bid_usd_per_hour)
    usd = offer.usd_per_hour + bid - offer.bid_usd_per_hour
    return replace(offer, bid_usd_per_hour=bid, usd_per_hour=usd)


UNTOLD_USD_PER_GPU_HOUR = 2.0
"""What a GPU counts as of which no price was ever told: the dearest that was recorded."""

UNTOLD_USD_PER_GB_HOUR = 1.0 / 720.0
"""The same of a disk: the dearest recorded is 0.99 a month (tests/evidence/vast/search.json)."""


def out_of_bounds(offer: Offer, now: float) -> str:
    """The first field of an offer that cannot be true; empty if all may be."""
    for name, (least, most) in OFFER_BOUNDS.items():
        if not least <= getattr(offer, name) <= most:
            return name
    if offer.ends_at is not None and not now < offer.ends_at < now + MAX_YEARS:
        return "ends_at"
    return ""


def plausible_record(record: InstanceRecord, now: float) -> InstanceRecord:
    """An instance without what cannot be true; it stays in the list, or it would be lost.

    An unknown price counts as the one that was agreed on (core/money/bookkeeping.py).
    """
    changes: dict[str, Any] = {
        name: 0.0
        for name, (least, most) in OFFER_BOUNDS.items()
        if name != "num_gpus"
        and hasattr(record, name)
        and not min(least, 0.0) <= getattr(record, name) <= most
    }
    if not 0 <= record.num_gpus <= OFFER_BOUNDS["num_gpus"][1]:
        changes["num_gpus"] = 0  # unknown
    if record.started_at and not 0 < record.started_at < now + 86_400.0:
        changes["started_at"] = 0.0
    if record.ends_at is not None and not 0 < record.ends_at < now + MAX_YEARS:
        changes["ends_at"] = None
    return replace(record, **changes) if changes else record


class Pin(StrEnum):
    """How surely an image's name stands for the same image tomorrow."""

    DIGEST = "digest"  # it can stand for no other
    VERSION = "version"  # by its owner's habit
    NONE = "none"


_MOVING = re.compile(r"(latest|main|master|nightly|edge|stable|dev)\b")


def pin_of(image: str) -> Pin:
    """How an image is named: `repository`, `repository:tag`, each with or without `@sha256:…`."""
    if re.search(r"@sha256:[0-9a-f]{64}$", image):
        return Pin.DIGEST
    tag = image.rpartition("/")[2].partition(":")[2]
    is_exact = re.search(r"\d+\.\d+\.\d+", tag) and not _MOVING.match(tag)
    return Pin.VERSION if is_exact else Pin.NONE


def plain_name(name: str) -> str:
    """A GPU's name as searches compare it: `RTX_4090` is "rtx 4090"."""
    return name.replace("_", " ").casefold()


def fits(had: object, operator: str, wanted: object) -> bool:
    """Whether a value meets one operator, as Vast reads it; what cannot be compared fits."""
    if isinstance(wanted, str):
        wanted = plain_name(wanted)
    elif isinstance(wanted, list | tuple):
        wanted = [plain_name(one) if isinstance(one, str) else one for one in wanted]
    if operator in ("eq", "neq"):
        return (had == wanted) == (operator == "eq")
    if operator in ("in", "notin"):
        return not isinstance(wanted, list) or (had in wanted) == (operator == "in")
    if not isinstance(had, int | float) or not isinstance(wanted, int | float):
        return True
    compared = {"gt": had > wanted, "gte": had >= wanted, "lt": had < wanted, "lte": had <= wanted}
    return compared.get(operator, True)


def machine_fits(
    query: Mapping[str, Mapping[str, object]], *, gpu_name: str, num_gpus: int
) -> bool:
    """Whether a rented machine meets a search, as far as our books tell what it is."""
    had: Mapping[str, object] = {"gpu_name": plain_name(gpu_name), "num_gpus": num_gpus}
    return all(
        fits(had[name], operator, wanted)
        for name, conditions in query.items()
        if name in had
        for operator, wanted in conditions.items()
        if isinstance(wanted, list | tuple) or isinstance(wanted, str) == (name == "gpu_name")
    )
