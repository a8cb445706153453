"""Scenes for the console: fleets as an owner may find them, built from a few numbers."""

from __future__ import annotations

import math
import random

from fakes.console.server import Console, Json

NOW = 1_795_000_000.0
GPUS = (("RTX 4090", 1, 400.0, 0.34), ("RTX 3090", 1, 210.0, 0.19), ("A100 SXM4", 2, 1_300.0, 1.62))
SHOWN = (
    "id", "template_hash", "search_params", "weight", "tier", "state", "test_workers",
    "exploration",
)  # fmt: skip
STATES = ("ready", "ready", "ready", "ready", "stopped", "stopped", "loading", "draining")

SPEND: Json = {
    "rows": [{
        "day": "2026-11-18", "endpoint_id": 7, "endpoint_name": "old", "is_deleted": True,
        "gpu_usd": 3.6, "disk_usd": 0.1, "bandwidth_usd": 0.2, "download_usd": 0.3,
        "n_unknown_downloads": 1, "total_usd": 4.2,
    }],
    "month": {"so_far_usd": 58.1, "forecast_usd": 93.0, "counted_usd": 61.3, "cap_usd": 500.0},
    "aws_estimate_usd": 0.31, "fixed_fleet": {"n_workers": 9, "usd": 120.0, "saved_share": 0.49},
}  # fmt: skip

QUEUE: Json = {
    "queue_time_s": 1.8, "target_s": 10.0, "max_s": 30.0, "n_waiting": 3, "waiting_load": 750.0,
    "oldest_wait_s": 2.4, "eta_s": 1.1, "late_share": 0.002,
}  # fmt: skip


def empty() -> Console:
    """A new deployment: no group, nothing spent."""
    account: Json = {
        "is_frozen": False, "is_panicking": False, "committed_usd_per_hour": 0.0,
        "spent_today_usd": 0.0, "counted_today_usd": 0.0, "counted_month_usd": 0.0,
        "idle_today_usd": 0.0,
        "caps": {
            "usd_per_hour": 5.0, "usd_per_day": 50.0, "usd_per_month": 500.0,
            "idle_usd_per_day": 10.0,
        },
        "inventory": {
            "state": "known", "at": NOW - 4, "n_instances": 0, "n_strays": 0, "problem": "",
        },
        "scaler": {"last_round_at": NOW - 3},
    }  # fmt: skip
    status: Json = {
        "now": NOW,
        "stage": "dev",
        "is_simulated": True,
        "account": account,
        "groups": [],
    }
    answers: Json = {"/api/v0/compare": {"rows": []}, "/api/v0/spend": SPEND | {"rows": []}}
    return Console(status=status, answers=answers)


def fleet(n_workers: int, *, name: str = "TGI-Llama3", minutes: int = 60) -> Console:
    """One group with that many workers on a few kinds of GPU, and its history."""
    console = empty()
    rng = random.Random(n_workers)
    workers = [_worker(index, rng) for index in range(n_workers)]
    console.workers[7] = workers
    console.endpoints[7] = _endpoint_row(name, n_workers)
    autogroups = [
        _autogroup_row(11, name, "6f0c4c3a", 0.9),
        _autogroup_row(12, name, "9a1be02d", 0.1),
    ]
    console.autogroups = {row["id"]: row for row in autogroups}
    console.events = _events(n_workers)
    console.series = history(minutes, n_workers)
    console.answers |= {"/api/v0/compare": {"rows": _comparison(n_workers)}, "/api/v0/spend": SPEND}
    group = _group(name, workers, console)
    console.status["groups"] = [group]
    cost = group["money"]["usd_per_hour"]
    caps = console.status["account"]["caps"] | {"usd_per_hour": max(5.0, math.ceil(1.4 * cost))}
    console.status["account"] |= {
        "committed_usd_per_hour": cost,
        "spent_today_usd": 4.2,
        "counted_today_usd": 4.9,
        "counted_month_usd": 61.3,
        "caps": caps,
    }
    return console


def history(minutes: int, n_workers: int) -> Json:
    """Series of a day's wave, thinned to 300 points."""
    n = min(300, minutes)
    times = [NOW - 60 * minutes * (1 - (i + 1) / n) for i in range(n)]
    wave = [0.55 + 0.35 * math.sin(i / n * 9) + 0.05 * math.sin(i * 1.7) for i in range(n)]
    size = 300.0 * n_workers
    values: Json = {
        "arriving_load": [round(0.5 * size * w, 1) for w in wave],
        "hot_target": [round(0.58 * size * w, 1) for w in wave],
        "capacity": [round(0.6 * size, 1)] * n,
        "cold_capacity": [round(0.2 * size, 1)] * n,
        "queue_time_s": [round(1 + 6 * w**4, 2) for w in wave],
        "late_share": [0.0] * n,
        "usd_per_hour": [round(0.4 * n_workers * (0.6 + 0.4 * w), 3) for w in wave],
    }
    for index, (gpu, count, _, _) in enumerate(GPUS):
        part = (0.5, 0.3, 0.2)[index] * size
        steps = [round(part * (0.45 + 0.15 * round(2 * w) / 2), 1) for w in wave]
        values[f"capacity:{count}x {gpu}"] = steps
        values[f"cold_capacity:{count}x {gpu}"] = [round(part * 0.7 - step, 1) for step in steps]
    return {"t": times, "values": values if n_workers else {}}


def _worker(index: int, rng: random.Random) -> Json:
    gpu, n_gpus, perf, price = GPUS[index % len(GPUS)]
    state = "ready" if index == 0 else STATES[index % len(STATES)]
    is_broken = index % 41 == 17
    return {
        "id": 21_000_000 + index, "machine_id": 5_000 + index, "host_id": 900 + index % 23,
        "status": "idle" if state == "ready" else state,
        "state": "error" if is_broken else state, "state_since": NOW - 200,
        "autogroup_id": 11 + (index % 10 == 9), "gpu_name": gpu, "num_gpus": n_gpus,
        "measured_perf": round(perf * rng.uniform(0.93, 1.05), 1),
        "observed_perf": round(perf * 0.9, 1),
        "cur_load": round(perf * rng.uniform(0.2, 0.8), 1) if state == "ready" else 0.0,
        "reqs_working": rng.randint(1, 6) if state == "ready" else 0,
        "usd_per_hour": round(price * rng.uniform(0.9, 1.2), 3),
        "storage_usd_per_hour": 0.004,
        "created_at": NOW - rng.uniform(600, 90_000),
        "reported_at": NOW - rng.uniform(0, 9),
        "error": "CUDA error: out of memory" if is_broken else "", "reliability": 0.99,
    }  # fmt: skip


def _endpoint_row(name: str, n_workers: int) -> Json:
    return {
        "id": 7, "revision": 4, "endpoint_name": name, "api_key": "blk.e7-r-own.1.secret",
        "created_at": NOW - 90_000, "endpoint_state": "active",
        "min_load": 100.0, "target_util": 0.9, "cold_mult": 1.0, "min_cold_load": None,
        "cold_workers": 5, "max_workers": max(20, n_workers), "max_queue_time": 30.0,
        "target_queue_time": 10.0, "inactivity_timeout": None, "slo_target": 0.99,
        "queue_order": "on_time_first",
        "interruptible": "never", "interruptible_share": 1.0, "max_usd_per_hour": 4.0,
        "max_usd_per_day": 40.0,
        "max_usd_per_month": None, "schedules": [], "given": ["cold_mult", "min_load"],
    }  # fmt: skip


def _autogroup_row(identity: int, name: str, template: str, weight: float) -> Json:
    return {
        "id": identity,
        "revision": 2,
        "endpoint_id": 7,
        "endpoint_name": name,
        "api_key": "blk.e7-r-own.1.secret",
        "template_hash": template,
        "search_params": "gpu_ram>=23 num_gpus=1",
        "launch_args": "",
        "gpu_ram": 24.0,
        "test_workers": 5,
        "weight": weight,
        "tier": 0,
        "state": "active",
        "exploration": {"phase": "over", "n_loaded": 3, "n_needed": 2, "ended_at": NOW - 80_000},
    }


def _by_gpu(workers: list[Json], state: str) -> dict[str, float]:
    sums: dict[str, float] = {}
    for worker in workers:
        if worker["state"] == state:
            kind = f"{worker['num_gpus']}x {worker['gpu_name']}"
            sums[kind] = sums.get(kind, 0.0) + worker["measured_perf"]
    return sums


def _group(name: str, workers: list[Json], console: Console) -> Json:
    states = [worker["state"] for worker in workers]
    cost = round(sum(w["usd_per_hour"] for w in workers if w["state"] != "stopped"), 2)
    ready = sum(w["measured_perf"] for w in workers if w["state"] == "ready")
    cold = sum(w["measured_perf"] for w in workers if w["state"] == "stopped")
    n_errors = states.count("error")
    return {
        "id": 7,
        "endpoint_name": name,
        "endpoint_state": "active",
        "is_frozen": False,
        "is_shadow": False,
        "health": "warn" if n_errors else "ok",
        "health_reasons": [f"{n_errors} workers in error are being replaced."] if n_errors else [],
        "load": {
            "arriving": round(0.7 * ready, 1),
            "ready_capacity": round(ready, 1),
            "cold_capacity": round(cold, 1),
            "loading_capacity": 0.0,
            "hot_target": round(0.8 * ready, 1),
            "total_target": round(ready, 1),
        },
        "ready_by_gpu": _by_gpu(workers, "ready"),
        "cold_by_gpu": _by_gpu(workers, "stopped"),
        "queue": QUEUE if workers else QUEUE | {"n_waiting": 0},
        "cache": {"hit_share": 0.31, "spared_share": 0.12} if workers else {"hit_share": None},
        "money": {
            "usd_per_hour": cost,
            "cap_usd_per_hour": 4.0 if cost < 4 else math.ceil(1.3 * cost),
            "spent_today_usd": 4.2,
            "counted_today_usd": 4.9,
            "cap_usd_per_day": 40.0,
            "counted_month_usd": 61.3,
            "cap_usd_per_month": None,
        },
        "workers_by_state": {state: states.count(state) for state in sorted(set(states))},
        "n_workers": len(workers),
        "max_workers": max(20, len(workers)),
        "last_decision": console.events[0] if console.events else None,
        "autogroups": [
            {name: row[name] for name in SHOWN}
            | {"share": row["weight"], "n_workers": len(workers)}
            | {"workers_by_state": {"ready": states.count("ready")}}
            for row in console.autogroups.values()
        ],
    }


HISTORY: tuple[tuple[float, str, str, Json], ...] = (
    (
        12,
        "decision",
        "Started worker 21000004 (1x RTX 3090): load rose to 880 tokens/s, ready "
        "capacity covers 820 at 90 % utilisation; a stopped worker is ready in 9 s, a new one "
        "in 4 min.",
        {
            "binding": "occupancy",
            "reason": {
                "code": "hot_short",
                "beaten": [
                    "rent 1x RTX 4090 at $0.341/h: ready 4 min later",
                    "start 21000012: refused twice today",
                ],
            },
        },
    ),
    (
        95,
        "worker_failed",
        "Worker 21000017 failed to load: CUDA error: out of memory.",
        {"host_id": 917},
    ),
    (
        410,
        "decision",
        "Rented 1x RTX 4090 at $0.338/h from host 903: cheapest per measured token/s of 12 offers.",
        {
            "reason": {
                "code": "explore",
                "beaten": ["1x A100 SXM4 at $0.81/h: 31 % dearer per token/s"],
            }
        },
    ),
    (3_000, "changed_endpoint", "target_util 0.8 → 0.9", {}),
)


def _events(n_workers: int) -> list[Json]:
    return [
        {
            "at": NOW - back,
            "scope": "endpoint:7",
            "level": "info0",
            "kind": kind,
            "message": message,
            "facts": facts,
            "actor": "scaler",
            "event_id": f"e{index}",
        }
        for index, (back, kind, message, facts) in enumerate(HISTORY if n_workers else ())
    ]


def _comparison(n_workers: int) -> list[Json]:
    return [
        {
            "autogroup_id": 11,
            "template_hash": "6f0c4c3a",
            "gpu_types": ["1x RTX 4090", "1x RTX 3090"],
            "n_workers": n_workers,
            "n_requests": 8_120,
            "perf_mean": 331.0, "usd_per_1k_load": 0.00031, "queue_p50_s": 0.4,
            "queue_p95_s": 2.9, "error_share": 0.002, "load_time_s": 241.0,
            "cache_hit_share": 0.31,
            "verdict": "nothing to compare it with",
        },
        {
            "autogroup_id": 12,
            "template_hash": "9a1be02d",
            "gpu_types": ["2x A100 SXM4"],
            "n_workers": 1,
            "n_requests": 60,
            "perf_mean": 1_290.0, "usd_per_1k_load": 0.00035, "queue_p50_s": 0.3,
            "queue_p95_s": 1.2, "error_share": 0.0, "load_time_s": 402.0,
            "verdict": "needs 1 more measured worker and 40 more requests",
        },
    ]  # fmt: skip
