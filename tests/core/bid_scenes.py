"""Made-up interruptible and on-demand workers."""

from __future__ import annotations

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.hazard import place_of
from chalicelib.core.scaling.snapshot import WorkerFacts

NOW = 1_000_000.0
GPU = "1x RTX 4090"
UP, DOWN = WorkerState.READY, WorkerState.PAUSED
HERE, THERE = place_of("SE", GPU), place_of("US", GPU)


def facts(number: int, state: WorkerState = WorkerState.READY, **changes: object) -> WorkerFacts:
    values: dict[str, object] = {
        "instance_id": number,
        "autogroup_id": 1,
        "state": state,
        "state_since": NOW - 10_000,
        "created_at": NOW - 20_000,
        "gpu_type": GPU,
        "machine_id": number,
        "usd_per_hour": 0.31,
        "storage_usd_per_hour": 0.01,
        "perf": 100.0,
        "slots": 8,
        "loaded_at": NOW - 19_000,
        "is_bid": True,
        "bid_usd_per_hour": 0.3,
        "place": "SE",
    }
    return WorkerFacts(**{**values, **changes})  # type: ignore[arg-type]


def on_demand(
    number: int, state: WorkerState = WorkerState.READY, **changes: object
) -> WorkerFacts:
    own = {"is_bid": False, "bid_usd_per_hour": 0.0, "usd_per_hour": 0.6, **changes}
    return facts(number, state, **own)
