"""`python -m lab.bench round`: CPU of one scaling decision for 100 to 10,000 workers.

Budgets: at most 0.5 s for 10,000 workers, and linear: ten times the workers take at most fifteen
times as long (the medians of several decisions in this process).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from statistics import median

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.core.model.market import Offer
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.snapshot import GroupSnapshot, Traffic, Waiting, WorkerFacts

NOW = 1_000_000.0
SIZES = (100, 1_000, 10_000)
BUDGET_S, MAX_GROWTH = 0.5, 15.0
STATES = (WorkerState.READY, WorkerState.READY, WorkerState.STOPPED, WorkerState.LOADING)


def make_snapshot(n_workers: int) -> GroupSnapshot:
    """A busy group: half its workers serve, a quarter is cold, a quarter loads, requests wait."""
    return GroupSnapshot(
        group=EndpointGroup(
            endpoint_id=1,
            name="bench",
            created_at=0.0,
            params=ScalingParams(max_workers=10_000, min_load=60.0 * n_workers),
        ),
        autogroups=(Autogroup(autogroup_id=1, endpoint_id=1, created_at=0.0),),
        workers=tuple(_worker(number) for number in range(n_workers)),
        waiting=Waiting(n=n_workers, load=100.0 * n_workers),
        traffic=Traffic(elapsed_s=5.0, arrived_load=400.0 * n_workers, n_arrived=4 * n_workers),
        offers={1: tuple(_offer(number) for number in range(200))},
    )


def _worker(number: int) -> WorkerFacts:
    state = STATES[number % len(STATES)]
    is_loaded = state is not WorkerState.LOADING
    return WorkerFacts(
        instance_id=number,
        autogroup_id=1,
        state=state,
        state_since=NOW - 200.0,
        created_at=NOW - 9000.0 if is_loaded else NOW - 100.0,
        gpu_type="1x RTX 4090",
        machine_id=number,
        usd_per_hour=0.3 + number % 97 / 300,
        storage_usd_per_hour=0.01,
        perf=90.0 + number % 31 if is_loaded else 0.0,
        dlperf=100.0,
        n_working=number % 9,
        pending_load=float(number % 9),
        slots=8,
        loaded_at=NOW - 8000.0 if is_loaded else 0.0,
    )


def _offer(number: int) -> Offer:
    return Offer(
        offer_id=number,
        machine_id=number,
        host_id=number,
        gpu_name="RTX 4090",
        num_gpus=1,
        gpu_ram_gb=24.0,
        usd_per_hour=0.3 + number / 500,
        storage_usd_per_hour=0.01,
        dlperf=100.0,
    )


def measure(n_workers: int, repeats: int = 5) -> float:
    """Median CPU seconds of a decision."""
    snapshot = make_snapshot(n_workers)
    memory: Mapping[str, object] = decide_scaling(snapshot, {}, NOW).memory
    taken = []
    for number in range(repeats):
        began = time.process_time()
        decide_scaling(snapshot, memory, NOW + 5.0 * (number + 1))
        taken.append(time.process_time() - began)
    return median(taken)


def main(arguments: list[str]) -> int:
    """Print the figures; exit status 1 if a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench round", description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = {n: measure(n) for n in SIZES}
    growth = figures[SIZES[-1]] / max(figures[SIZES[-2]], 1e-9)
    is_kept = figures[SIZES[-1]] <= BUDGET_S and growth <= MAX_GROWTH
    if options.json:
        print(json.dumps({"cpu_s": figures, "growth": growth, "budget_kept": is_kept}))
    else:
        for n, seconds in figures.items():
            print(f"{n:>6} workers: {1000 * seconds:8.2f} ms")
        print(f"growth {growth:.1f} x for 10 x; budget {'kept' if is_kept else 'MISSED'}")
    return 0 if is_kept else 1
