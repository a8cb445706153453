"""Offers: machines one may rent now, at a price."""

from __future__ import annotations

from dataclasses import dataclass


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

    @property
    def gpu_type(self) -> str:
        """GPU model and count, the unit in which perf is learned: '2x RTX 4090'."""
        return f"{self.num_gpus}x {self.gpu_name}"
