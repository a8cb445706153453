"""One run: a policy on a trace in a market, and what it scored."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

from ballast.simulator.routed.routed import RoutedPolling
from ballast.simulator.world.dispatch import EarlyFifo, LatePolling, LateScan
from ballast.simulator.world.losses import Losses, model_losses, trace_losses
from ballast.simulator.world.market import MarketConfig
from ballast.simulator.world.traces import Trace
from ballast.simulator.world.world import Dispatcher, Policy, World
from chalicelib.core.routing.admission import AdmissionParams, ClientKind

WARMUP_SHARE, WARMUP_MAX_S = 0.1, 6 * 3600.0
POLLED = {  # clients ask again by themselves
    "paced": ClientKind.PACED,
    "sdk": ClientKind.RANDOM,
    "oneshot": ClientKind.ONE_SHOT,
}
ROUTED = {  # by the product's own routers, which know the workers by their reports
    "routed": ClientKind.PACED,
    "routed-sdk": ClientKind.RANDOM,
    "routed-oneshot": ClientKind.ONE_SHOT,
}
QUEUES = ("early", "scan", "scan-fifo", *POLLED, *ROUTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """How a run is played, beside its trace and policy."""

    market: MarketConfig
    queue: str = "early"
    seed: int = 0
    slo_wait_s: float = 10.0
    round_s: float = 5.0
    is_from_start: bool = False  # no warm-up: every request from second 0 counts
    losses: str = ""  # "" = none interruptible; "model", "memoryless", or a trace's path and zones


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a run scored after its warm-up, if it had one."""

    within_2s: float
    within_slo: float
    within_30s: float
    p50_wait_s: float
    p95_wait_s: float
    p99_wait_s: float
    usd: float
    usd_per_million_load: float
    gpu_hours: float
    starts: float
    creates_per_hour: float
    lost: float
    requests: float
    taken: float = 0.0  # interruptible machines that were outbid while up
    broken: float = 0.0  # share of the requests that this cut
    bid_share: float = 0.0  # of the GPU dollars that went to interruptible machines
    first_ready_s: float = 0.0  # when the first worker was ready
    within_slo_ready: float = 0.0  # on time, of the requests that came after that


def warmup_of(trace: Trace) -> float:
    """Seconds at the start that no score counts."""
    return min(WARMUP_SHARE * trace.duration_s, WARMUP_MAX_S)


def run_policy(
    trace: Trace,
    policy: Policy,
    setting: Setting,
    progress: Callable[[float], None] | None = None,
) -> Score:
    """Play a trace under a policy."""
    warmup_s = 0.0 if setting.is_from_start else warmup_of(trace)
    kind: type[World] = getattr(policy, "world_kind", World)  # the whole service needs more
    losses = make_losses(setting, trace.duration_s)
    market = setting.market
    if losses is not None:
        market = replace(market, zones=losses.zones)
    world = kind(
        trace=trace,
        config=market,
        seed=setting.seed,
        slo_wait_s=setting.slo_wait_s,
        round_s=setting.round_s,
        warmup_s=warmup_s,
        losses=losses,
    )
    world.dispatcher = make_dispatcher(setting.queue, world)
    world.policy = policy
    world.run(progress)
    return _score(world)


def make_losses(setting: Setting, duration_s: float) -> Losses | None:
    """The losses of interruptible machines that a setting names; see `Setting.losses`.

    Raises:
        LossesError: the trace cannot be used.
    """
    if not setting.losses:
        return None
    if setting.losses in ("model", "memoryless"):
        is_memoryless = setting.losses == "memoryless"
        return model_losses(duration_s, setting.seed, is_memoryless=is_memoryless)
    path, _, zones = setting.losses.partition(":")
    names = tuple(zone for zone in zones.split(",") if zone)
    return trace_losses(Path(path), duration_s, setting.seed, names)


def make_dispatcher(queue: str, world: World) -> Dispatcher:
    """The queue discipline of a name; see QUEUES."""
    if queue == "early":
        return EarlyFifo(world)
    if queue in ("scan", "scan-fifo"):
        return LateScan(world, on_time_first=queue == "scan")
    params = AdmissionParams(target_queue_time=world.slo_wait_s)
    if queue in ROUTED:
        return RoutedPolling(world, ROUTED[queue], params, random.Random(f"polls:{world.seed}"))
    return LatePolling(world, POLLED[queue], params, random.Random(f"polls:{world.seed}"))


def _score(world: World) -> Score:
    counted = [at >= world.warmup_s for at in world.trace.times]
    load = sum(compress(world.trace.loads, counted))
    end, limit = world.trace.duration_s, world.slo_wait_s
    judged = [wait for wait, at in _judged(world) if at >= world.warmup_s]
    ready_at = world.first_ready_at
    since_ready = sorted(wait for wait, at in _judged(world) if at >= ready_at)
    judged.sort()
    usd, gpu_s = world.bill()
    usd, gpu_s = usd - world.warmup[0], gpu_s - world.warmup[1]
    hours = (end - world.warmup_s) / 3600.0
    return Score(
        within_2s=_share(judged, 2.0),
        within_slo=_share(judged, limit),
        within_30s=_share(judged, 30.0),
        p50_wait_s=_quantile(judged, 0.5),
        p95_wait_s=_quantile(judged, 0.95),
        p99_wait_s=_quantile(judged, 0.99),
        usd=usd,
        usd_per_million_load=usd / load * 1e6 if load else 0.0,
        gpu_hours=gpu_s / 3600.0,
        starts=world.counters.starts - world.warmup[2],
        creates_per_hour=(world.counters.creates - world.warmup[3]) / hours,
        lost=sum(wait == float("inf") for wait in judged),
        requests=len(judged),
        taken=world.counters.n_taken,
        broken=world.counters.n_broken / max(len(judged), 1),
        bid_share=_bid_share(world),
        first_ready_s=min(ready_at, end),
        within_slo_ready=_share(since_ready, limit),
    )


def _judged(world: World) -> list[tuple[float, float]]:
    """(wait, arrival) of each request in seconds.

    One without a start at the end is late if its time is up, else it is not counted.
    """
    end, limit = world.trace.duration_s, world.slo_wait_s
    return [
        (wait if wait >= 0 else float("inf"), at)
        for wait, at in zip(world.waits, world.trace.times, strict=True)
        if wait >= 0 or end - at > limit
    ]


def _bid_share(world: World) -> float:
    bid_usd = world.gone_bid_usd + sum(m.gpu_usd for m in world.machines.values() if m.is_bid)
    gpu_usd = world.gone_gpu_usd + sum(m.gpu_usd for m in world.machines.values())
    return bid_usd / gpu_usd if gpu_usd else 0.0


def _share(sorted_waits: list[float], limit: float) -> float:
    return sum(wait <= limit for wait in sorted_waits) / max(len(sorted_waits), 1)


def _quantile(sorted_waits: list[float], share: float) -> float:
    if not sorted_waits:
        return 0.0
    return sorted_waits[min(int(share * len(sorted_waits)), len(sorted_waits) - 1)]
