"""Offers: machines one may rent now, at a price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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

    @property
    def gpu_type(self) -> str:
        """GPU model and count, the unit in which perf is learned: '2x RTX 4090'."""
        return f"{self.num_gpus}x {self.gpu_name}"


# Instances as the marketplace lists them, and what one listing showed.


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


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceListing:
    """What one listing showed. `is_complete`: every page came, totals agree, no id twice."""

    started_at: float
    ended_at: float
    is_complete: bool
    instances: tuple[InstanceRecord, ...] = ()
    problem: str = ""  # why it is not complete
