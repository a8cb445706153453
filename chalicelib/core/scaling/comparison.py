"""Hardware side by side: what an autogroup's workers serve, for which price, and how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev

from chalicelib.core.fleet import loading
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.load import believed_perf
from chalicelib.core.model.warmth import hit_share
from chalicelib.core.model.worker import Worker

Row = dict[str, object]

ENOUGH_WORKERS = 2  # one machine may be an odd one
ENOUGH_REQUESTS = 100  # chosen: shares are known to 10 points


def compare_hardware(
    autogroup: Autogroup, workers: Sequence[Worker], minutes: Sequence[Mapping[str, float]]
) -> Row:
    """One autogroup's row, from its workers now and its series of minutes."""
    measured = [worker for worker in workers if worker.is_measured]
    perfs = [believed_perf(worker) for worker in measured]
    perf = fmean(perfs) if perfs else 0.0
    usd = fmean(worker.usd_per_hour for worker in measured) if measured else 0.0
    waits = sorted(values["queue_time_s"] for values in minutes if "queue_time_s" in values)
    loads = [w.loaded_at - w.created_at for w in workers if w.loaded_at > 0]
    n_requests = sum(worker.reqnum for worker in workers)
    return {
        "autogroup_id": autogroup.autogroup_id,
        "template_hash": autogroup.template_hash,
        "gpu_types": sorted({w.gpu_type for w in workers}),
        "n_workers": len(workers),
        "n_interruptible": sum(worker.is_bid for worker in workers),
        "n_requests": n_requests,
        "perf_mean": perf,
        "perf_error": _standard_error(perfs),
        "usd_per_1k_load": usd / 3600 / perf * 1000 if perf > 0 else None,
        "queue_p50_s": _quantile(waits, 0.5),
        "queue_p95_s": _quantile(waits, 0.95),
        "error_share": error_share(workers),
        "cache_hit_share": hit_share(w.cache for w in workers if w.state.is_answering),
        "load_time_s": median(loads) if loads else None,
        "load_parts_s": loading.usual(worker.first_load for worker in workers),
        "start_parts_s": loading.usual(worker.last_start for worker in workers),
        "verdict": _verdict(len(measured), n_requests),
    }


def error_share(workers: Sequence[Worker]) -> float:
    """Share of requests that failed or were turned away.

    Failures are known of our own workers only; the vendor's report a model's error 500 as success.
    """
    n_errored = sum(worker.n_errored for worker in workers)
    n_ended = n_errored + sum(worker.n_served for worker in workers)
    rejected = sum(worker.rejected_load for worker in workers)
    offered = rejected + sum(worker.received_load for worker in workers)
    turned_away = rejected / offered if offered > 0 else 0.0
    failed = n_errored / n_ended if n_ended else 0.0
    return turned_away + (1.0 - turned_away) * failed


def _standard_error(perfs: Sequence[float]) -> float | None:
    """Of the mean perf; None where one worker alone was measured."""
    return stdev(perfs) / math.sqrt(len(perfs)) if len(perfs) > 1 else None


def _verdict(n_measured: int, n_requests: int) -> str:
    if n_measured >= ENOUGH_WORKERS and n_requests >= ENOUGH_REQUESTS:
        return "enough data"
    return f"not enough data ({n_measured} measured workers, {n_requests} requests)"


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
