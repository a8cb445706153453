"""Instances as the marketplace lists them, and what one listing showed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceListing:
    """What one listing showed. `is_complete`: every page came, totals agree, no id twice."""

    started_at: float
    ended_at: float
    is_complete: bool
    instances: tuple[InstanceRecord, ...] = ()
    problem: str = ""  # why it is not complete
