"""Machines of a pretend market and their offers, drawn from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fakes.market.market_config import TYPICAL_MBPS, GpuModel, MarketConfig, Timings

HOURS_PER_MONTH = 720.0
SECONDS_PER_DAY = 86_400.0
_COUNTRIES = ("US", "SE", "DE", "FR", "CA", "NL", "PL", "JP")
_HARDWARE: Mapping[str, object] = {  # the same for all: nothing here depends on it
    "disk_bw": 3_000.0,
    "cpu_cores": 32,
    "cpu_cores_effective": 16.0,
    "cpu_ghz": 3.0,
    "cpu_ram": 128_000,
    "cpu_arch": "amd64",
    "pcie_bw": 12.0,
    "cuda_max_good": 12.8,
    "driver_version": "570.86.10",
    "driver_vers": 570_086_010,
}
_FIRST_OFFER_ID = 5_000_000
_FIRST_MACHINE_ID = 10_001
_FIRST_HOST_ID = 700


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A host's machine with one offer: all of its GPUs."""

    machine_id: int
    host_id: int
    offer_id: int
    model: GpuModel
    num_gpus: int
    gpu_usd_per_hour: float  # of all GPUs, before price moves
    storage_usd_per_gb_month: float
    relative_perf: float  # of all GPUs
    dlperf: float
    reliability: float
    inet_down_mbps: float
    pace: float  # of its host: the time of its loads over others' on such a line
    inet_usd_per_gb: float
    contract_s: float
    public_ip: str
    country: str
    disk_space_gb: float = 500.0
    direct_port_count: int = 50

    def storage_usd_per_hour(self, disk_gb: float) -> float:
        """What a disk of this size costs, always."""
        return self.storage_usd_per_gb_month * disk_gb / HOURS_PER_MONTH


def build_machines(config: MarketConfig, seed: int) -> dict[int, Machine]:
    """All machines by offer id; the same for the same seed."""
    machines: dict[int, Machine] = {}
    for model in config.models:
        for place in range(model.n_machines):
            number = len(machines)
            machine = _build_machine(config, seed, model, place, number)
            machines[machine.offer_id] = machine
    return machines


def usual_load_s(machine: Machine, timings: Timings) -> float:
    """The median of first loads on a machine: as its host's line and pace make them.

    The download's share takes the longer the slower the line is that the offer states.
    """
    slower = TYPICAL_MBPS / machine.inet_down_mbps - 1.0
    return timings.load_median_s * (1.0 + timings.download_share * slower) * machine.pace


def price_now(machine: Machine, config: MarketConfig, seed: int, now: float) -> float:
    """What the GPUs cost per hour now: the machine's price, moved anew every period."""
    period = int(now // config.price_period_s)
    move = _price_move(seed, machine.machine_id, period)
    return machine.gpu_usd_per_hour * math.exp(move * config.price_move_sigma)


@lru_cache(maxsize=4_096)  # a market's machines, asked for at every step of a period
def _price_move(seed: int, machine_id: int, period: int) -> float:
    return random.Random(f"{seed}/price/{machine_id}/{period}").gauss(0, 1)


def _build_machine(
    config: MarketConfig, seed: int, model: GpuModel, place: int, number: int
) -> Machine:
    rng = random.Random(f"{seed}/machine/{model.name}/{place}")
    num_gpus = model.gpus_per_machine[place % len(model.gpus_per_machine)]
    perf_factor = math.exp(rng.gauss(0, config.perf_sigma))
    price_factor = math.exp(rng.gauss(0, config.price_sigma))
    host_id = _FIRST_HOST_ID + number // 2
    host = random.Random(f"{seed}/host/{host_id}")
    return Machine(
        machine_id=_FIRST_MACHINE_ID + number,
        host_id=host_id,
        offer_id=_FIRST_OFFER_ID + number,
        model=model,
        num_gpus=num_gpus,
        gpu_usd_per_hour=model.usd_per_hour * num_gpus * price_factor,
        storage_usd_per_gb_month=rng.uniform(*config.storage_usd_per_gb_month),
        relative_perf=model.relative_perf * num_gpus * perf_factor,
        dlperf=model.dlperf * num_gpus * math.exp(rng.gauss(0, config.perf_sigma)),
        reliability=min(0.9999, rng.uniform(0.95, 1.0)),
        inet_down_mbps=rng.uniform(300, 3_000),
        pace=math.exp(host.gauss(0, config.timings.host_sigma)),
        inet_usd_per_gb=rng.uniform(0.001, 0.02),
        contract_s=rng.uniform(*config.contract_days) * SECONDS_PER_DAY,
        public_ip=f"{rng.randint(80, 95)}.{rng.randint(1, 250)}.{number // 250}.{number % 250 + 1}",
        country=rng.choice(_COUNTRIES),
    )


def offer_row(
    machine: Machine,
    *,
    gpu_usd_per_hour: float,
    disk_gb: float,
    now: float,
    is_rented: bool,
    min_bid: float,
) -> dict[str, object]:
    """The offer as Vast's search shows it (protocol.md F.1)."""
    dph_total = gpu_usd_per_hour + machine.storage_usd_per_hour(disk_gb)
    ram_mb = machine.model.gpu_ram_gb * 1_000
    return {
        "id": machine.offer_id,
        "ask_contract_id": machine.offer_id,
        "machine_id": machine.machine_id,
        "host_id": machine.host_id,
        "gpu_name": machine.model.name,
        "num_gpus": machine.num_gpus,
        "gpu_ram": ram_mb,
        "gpu_total_ram": ram_mb * machine.num_gpus,
        "gpu_frac": 1.0,
        "dph_base": gpu_usd_per_hour,
        "dph_total": dph_total,
        "min_bid": min_bid,
        "storage_cost": machine.storage_usd_per_gb_month,
        "inet_up_cost": machine.inet_usd_per_gb,
        "inet_down_cost": machine.inet_usd_per_gb,
        "dlperf": machine.dlperf,
        "dlperf_per_dphtotal": machine.dlperf / dph_total if dph_total > 0 else 0.0,
        "score": machine.dlperf / dph_total if dph_total > 0 else 0.0,
        "reliability": machine.reliability,
        "reliability2": machine.reliability,
        "inet_down": machine.inet_down_mbps,
        "inet_up": machine.inet_down_mbps / 2,
        "direct_port_count": machine.direct_port_count,
        "disk_space": machine.disk_space_gb,
        **_HARDWARE,
        "duration": machine.contract_s,
        "end_date": now + machine.contract_s,
        "geolocation": machine.country,
        "verification": "verified",
        "verified": True,
        "external": False,
        "datacenter": False,
        "static_ip": True,
        "rentable": True,
        "rented": is_rented,
        "public_ipaddr": machine.public_ip,
    }
