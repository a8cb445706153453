"""An instance of the pretend market: Vast's fields, and the row that a listing shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fakes.market.market_machines import Machine
from fakes.market.market_meter import Rate

DEFAULT_DISK_GB = 10.0
"""The vendor's default, for searches and creates that name no disk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RentalOrder:
    """What a create asks for, the template's values already merged in."""

    label: str
    disk_gb: float
    env: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    onstart: str = ""
    args: tuple[str, ...] = ()  # of a launch of kind "args": what the image's entry point is given
    template_hash: str = ""
    template_id: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an instance can be reached: the host's address, container port "3000/tcp" → host's."""

    public_ip: str
    ports: Mapping[str, int]


@dataclass(slots=True, kw_only=True)
class MarketInstance:
    """A contract. Statuses take Vast's values (protocol.md F.3)."""

    instance_id: int
    machine: Machine
    order: RentalOrder
    label: str
    gpu_usd_per_hour: float
    storage_usd_per_hour: float
    created_at: float
    ends_at: float
    placement: Placement = field(default_factory=lambda: Placement("", {}))
    intended_status: str = "running"
    actual_status: str | None = None
    cur_state: str = "unloaded"
    next_state: str = "running"
    status_msg: str = ""
    has_gpu: bool = True
    is_offline: bool = False
    is_destroyed: bool = False
    has_ended: bool = False  # its contract is over: it can never start again
    gone_at: float | None = None
    version: int = 0  # +1 whenever what is scheduled for it no longer holds
    n_draws: int = 0
    is_bid: bool = False  # interruptible: `gpu_usd_per_hour` is the bid
    is_outbid: bool = False
    rebid_while_outbid: bool = False  # it waits for an explicit start
    min_bid: float = 0.0  # what the market asks now, as a listing shows it

    @property
    def is_billed_for_gpu(self) -> bool:
        """While the host works for us, whether or not the worker does."""
        return self.has_gpu and not self.is_offline and self.cur_state == "running"

    @property
    def rate(self) -> Rate:
        """What it costs per hour as it is now."""
        if self.gone_at is not None:
            return Rate()
        gpu = self.gpu_usd_per_hour if self.is_billed_for_gpu else 0.0
        return Rate(gpu, self.storage_usd_per_hour)

    def row(self) -> dict[str, object]:
        """The instance as Vast lists it, secrets in `extra_env` included."""
        machine, order = self.machine, self.order
        is_up = self.actual_status == "running"
        return {
            "id": self.instance_id,
            "label": self.label or None,
            "actual_status": "offline" if self.is_offline else self.actual_status,
            "intended_status": self.intended_status,
            "cur_state": self.cur_state,
            "next_state": self.next_state,
            "status_msg": self.status_msg or None,
            "ports": _vast_ports(self.placement.ports) if is_up else None,
            "public_ipaddr": f"{self.placement.public_ip} ",  # Vast's may carry blanks
            "direct_port_start": -1,
            "direct_port_end": -1,
            "machine_id": machine.machine_id,
            "host_id": machine.host_id,
            "gpu_name": machine.model.name,
            "num_gpus": machine.num_gpus,
            "gpu_ram": machine.model.gpu_ram_gb * 1_000,
            "gpu_util": 0.0 if is_up else None,
            "dlperf": machine.dlperf,
            "reliability2": machine.reliability,
            "verification": "verified",
            "geolocation": machine.country,
            "is_bid": self.is_bid,
            "min_bid": self.min_bid,
            "dph_base": self.gpu_usd_per_hour,
            "dph_total": self.gpu_usd_per_hour + self.storage_usd_per_hour,
            "storage_cost": machine.storage_usd_per_gb_month,
            "storage_total_cost": self.storage_usd_per_hour,
            "inet_up_cost": machine.inet_usd_per_gb,
            "inet_down_cost": machine.inet_usd_per_gb,
            "inet_up": machine.inet_down_mbps / 2,
            "inet_down": machine.inet_down_mbps,
            "disk_space": order.disk_gb,
            "disk_usage": -1.0,
            "disk_util": -1.0,
            "start_date": self.created_at,
            "end_date": self.ends_at,
            "image_uuid": order.image,
            "template_id": order.template_id or None,
            "template_hash_id": order.template_hash or None,
            "template_name": None,
            "extra_env": [[name, value] for name, value in order.env.items()],
            "onstart": order.onstart,
            "ssh_host": "ssh.invalid",
            "ssh_port": 0,
            "volume_info": [],
        }


def _vast_ports(ports: Mapping[str, int]) -> dict[str, object]:
    return {
        name: [{"HostIp": "0.0.0.0", "HostPort": str(port)}]  # noqa: S104  what Vast shows
        for name, port in ports.items()
    }


class InstanceDriver(Protocol):
    """What happens on the rented machine; the market tells it, and asks only where it is.

    The local system starts real processes here, the simulator its pretend workers.
    """

    def place(self, instance: MarketInstance) -> Placement:
        """Called once, at the create."""
        ...

    def started(self, instance: MarketInstance, now: float) -> None:
        """The container runs: `onstart` begins. Called again after a stop or reboot."""
        ...

    def stopping(self, instance: MarketInstance, now: float) -> None:
        """The container is asked to stop (also before a reboot)."""
        ...

    def killed(self, instance: MarketInstance, now: float) -> None:
        """The container is gone without warning: host lost, interrupted, contract over."""
        ...

    def destroyed(self, instance: MarketInstance, now: float) -> None:
        """The contract is over and the disk with it."""
        ...


class PretendHosts:
    """A driver without any process: addresses are made up and look public."""

    def place(self, instance: MarketInstance) -> Placement:
        """The machine's address, and a port per `-p` flag, 3000 if there is none."""
        ports = container_ports(instance.order.env) or ["3000/tcp"]
        first = 20_000 + instance.instance_id * 8 % 40_000
        return Placement(
            instance.machine.public_ip, {name: first + i for i, name in enumerate(ports)}
        )

    def started(self, instance: MarketInstance, now: float) -> None:
        """Nothing runs here."""

    def stopping(self, instance: MarketInstance, now: float) -> None:
        """Nothing runs here."""

    def killed(self, instance: MarketInstance, now: float) -> None:
        """Nothing runs here."""

    def destroyed(self, instance: MarketInstance, now: float) -> None:
        """Nothing is kept here."""


def container_ports(env: Mapping[str, str]) -> list[str]:
    """The container's ports among docker flags: {"-p 3000:3000": "1"} → ["3000/tcp"]."""
    found = []
    for name in env:
        if name.startswith("-p "):
            port, _, protocol = name.rpartition(":")[2].partition("/")
            found.append(f"{port}/{protocol or 'tcp'}")
    return found
