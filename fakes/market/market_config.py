"""What a pretend market is made of: GPU models, delays, odds. Defaults: scaling.md 11.

Prices are US dollars per hour of one GPU; `relative_perf` is 1.0 for an RTX 4090 serving an
8B-class model; `dlperf` is Vast's own score, which foretells perf only roughly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuModel:
    """A GPU model on the market and how many machines offer it."""

    name: str
    gpu_ram_gb: float
    usd_per_hour: float
    relative_perf: float
    dlperf: float
    n_machines: int = 6
    gpus_per_machine: tuple[int, ...] = (1,)  # machines take these in turn


DEFAULT_MODELS = (
    GpuModel(
        name="RTX 3090",
        gpu_ram_gb=24,
        usd_per_hour=0.22,
        relative_perf=0.55,
        dlperf=62,
        n_machines=8,
    ),
    GpuModel(
        name="RTX 4090",
        gpu_ram_gb=24,
        usd_per_hour=0.55,
        relative_perf=1.0,
        dlperf=105,
        n_machines=14,
        gpus_per_machine=(1, 1, 1, 2),
    ),
    GpuModel(
        name="RTX 5090",
        gpu_ram_gb=32,
        usd_per_hour=0.85,
        relative_perf=1.45,
        dlperf=170,
        n_machines=10,
    ),
    GpuModel(name="RTX A6000", gpu_ram_gb=48, usd_per_hour=0.45, relative_perf=0.7, dlperf=80),
    GpuModel(name="L40S", gpu_ram_gb=46, usd_per_hour=0.62, relative_perf=1.05, dlperf=115),
    GpuModel(name="A100 SXM4", gpu_ram_gb=80, usd_per_hour=1.10, relative_perf=1.7, dlperf=150),
    GpuModel(
        name="H100 SXM",
        gpu_ram_gb=80,
        usd_per_hour=2.20,
        relative_perf=3.0,
        dlperf=310,
        gpus_per_machine=(1, 2, 4),
    ),
    GpuModel(
        name="H200", gpu_ram_gb=141, usd_per_hour=2.90, relative_perf=3.4, dlperf=340, n_machines=4
    ),
    GpuModel(
        name="B200", gpu_ram_gb=180, usd_per_hour=4.49, relative_perf=5.5, dlperf=560, n_machines=3
    ),
)


TYPICAL_MBPS = 1_650.0  # the middle of the lines that market_machines.py draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """Delays in seconds of market time. Median and sigma are of lognormal distributions."""

    create_s: float = 60.0  # until the host begins to pull; only storage is billed
    load_median_s: float = 240.0  # on a line of TYPICAL_MBPS
    load_sigma: float = 0.487  # with host_sigma as much as 0.6
    download_share: float = 0.4  # of that median: 20 GB on that line take 97 s
    host_sigma: float = 0.35  # of log load time between hosts of one line
    restart_median_s: float = 20.0
    restart_sigma: float = 0.5
    stop_s: float = 3.0
    destroy_s: float = 2.0
    let_elsewhere_s: float = 3_600.0  # mean time for which somebody else holds a GPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """How often things go wrong by themselves; each in [0, 1]."""

    boot_error: float = 0.04
    load_stuck: float = 0.04
    start_refused: float = 0.02
    start_stuck: float = 0.01
    mean_life_s: float = 300 * 3_600.0  # of a host that runs something of ours; 0 = for ever


CALM = Odds(boot_error=0, load_stuck=0, start_refused=0, start_stuck=0, mean_life_s=0)
"""Nothing goes wrong by itself."""

PROMPT = Timings(
    create_s=1.0,
    load_median_s=5.0,
    load_sigma=0.0,
    download_share=0.0,
    host_sigma=0.0,
    restart_median_s=2.0,
    restart_sigma=0.0,
    stop_s=1.0,
    destroy_s=1.0,
)
"""Short, certain delays, for tests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MarketConfig:
    """A whole market."""

    models: tuple[GpuModel, ...] = DEFAULT_MODELS
    timings: Timings = field(default_factory=Timings)
    odds: Odds = field(default_factory=Odds)
    price_sigma: float = 0.2  # between machines of one model, lognormal
    perf_sigma: float = 0.08
    price_move_sigma: float = 0.05  # of one machine from period to period
    price_period_s: float = 3_600.0
    storage_usd_per_gb_month: tuple[float, float] = (0.10, 0.15)
    contract_days: tuple[float, float] = (20.0, 90.0)
    credit_usd: float = 1_000.0
    bid_ratio: float = 0.5  # the least bid over the price on demand, while nobody else bids
    bid_floors: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """By country: (from, least winning bid over the usual one); inf = all let on demand."""
