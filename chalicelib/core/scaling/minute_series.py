"""A group's minute in figures, gathered over its rounds and written once, when it is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chalicelib.core.model.warmth import hit_share
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.snapshot import GroupSnapshot, WorkerFacts

Sums = Mapping[str, float]
RATES_AFTER_S = 10.0  # a rate over less time says little
_GAUGES = (
    "nworkers",
    "ready",
    "cold",
    "capacity",
    "cold_capacity",
    "usd_per_hour",
    "storage_usd_per_hour",
    "curload",
)


def gather(sums: Sums, snapshot: GroupSnapshot, *, is_capped: bool) -> Sums:
    """The minute so far with one more round: counts add up, gauges keep their newest value."""
    traffic, waiting = snapshot.traffic, snapshot.waiting
    gauges = {
        "queue_time_s": traffic.queue_time_s,
        "waiting": float(waiting.n),
        "waiting_load": waiting.load,
        **fleet_figures(snapshot.workers),
    }
    counts = {
        "elapsed_s": traffic.elapsed_s,
        "arrived_load": traffic.arrived_load,
        "totreqs": float(traffic.n_arrived),
        "n_started": float(traffic.n_started),
        "n_late": float(traffic.n_late),
        "conflicts": float(traffic.n_refused),
        "slo_lost_to_cap": float(traffic.n_late) if is_capped else 0.0,
    }
    added = {name: sums.get(name, 0.0) + value for name, value in counts.items()}
    return {**gauges, **added}


def fleet_figures(workers: Iterable[WorkerFacts]) -> dict[str, float]:
    """Counts, capacities (load per second, also by GPU type) and prices of some workers."""
    figures = dict.fromkeys(_GAUGES, 0.0)
    workers = list(workers)
    if (hits := hit_share(w.cache for w in workers if w.state.is_answering)) is not None:
        figures["cache_hit_share"] = hits
    for worker in workers:
        figures["nworkers"] += 1
        figures["curload"] += worker.pending_load if worker.state.may_hold_requests else 0.0
        figures["storage_usd_per_hour"] += worker.storage_usd_per_hour
        if worker.state.is_gpu_billed and not worker.is_at_rest:
            figures["usd_per_hour"] += worker.usd_per_hour
        else:
            figures["usd_per_hour"] += worker.storage_usd_per_hour
        part = "capacity" if worker.state is WorkerState.READY else "cold_capacity"
        if worker.state is WorkerState.READY:
            figures["ready"] += 1
        elif worker.state.is_cold:
            figures["cold"] += 1
        else:
            continue
        by_type = f"{part}:{worker.gpu_type}"
        figures[part] += worker.perf
        figures[by_type] = figures.get(by_type, 0.0) + worker.perf
    return figures


def finished(sums: Sums) -> dict[str, float]:
    """What is written of a minute that is over: rates instead of sums where they say more."""
    elapsed_s = max(1.0, sums.get("elapsed_s", 0.0))
    values = {name: value for name, value in sums.items() if name not in _UNWRITTEN}
    values["arriving_load"] = sums.get("arrived_load", 0.0) / elapsed_s
    values["reqrate"] = sums.get("totreqs", 0.0) / elapsed_s
    values["late_share"] = sums.get("n_late", 0.0) / max(1.0, sums.get("n_started", 0.0))
    return values


def newest(before: Mapping[str, float], sums: Sums) -> Mapping[str, float]:
    """The minute in progress over the one before it: its gauges, and its rates once they mean much.

    `sums` {}: no round of this minute is known.
    """
    if not sums:
        return before
    values = finished(sums)
    if sums.get("elapsed_s", 0.0) < RATES_AFTER_S and before:
        values = {name: value for name, value in values.items() if name not in _COUNTED}
    return {**before, **values}


def is_worth_writing(sums: Sums) -> bool:
    """Whether anything ran or came: idle minutes write nothing (cost.md)."""
    moving = sums.get("nworkers", 0.0) - sums.get("cold", 0.0)
    return moving > 0 or sums.get("totreqs", 0.0) > 0 or sums.get("waiting", 0.0) > 0


_UNWRITTEN = frozenset({"minute", "elapsed_s", "arrived_load"})
_COUNTED = frozenset(
    {
        "arriving_load",
        "reqrate",
        "late_share",
        "totreqs",
        "n_started",
        "n_late",
        "conflicts",
        "slo_lost_to_cap",
    }
)
