"""Hardware side by side: what an autogroup's workers serve, for which price, and how surely."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev, variance

from chalicelib.core.fleet import loading
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.load import believed_perf
from chalicelib.core.model.warmth import hit_share
from chalicelib.core.model.worker import Worker
from chalicelib.core.words import count

Row = dict[str, object]

ENOUGH_WORKERS = 2  # one machine may be an odd one
ENOUGH_REQUESTS = 100  # chosen: shares are known to 10 points
ENOUGH = "enough data"
SURELY = 0.05  # the usual level of a test
SIMPSON_STEPS = 400  # p is right to four digits


def compare_hardware(
    autogroup: Autogroup, workers: Sequence[Worker], minutes: Sequence[Mapping[str, float]]
) -> Row:
    """One autogroup's row, from its workers now and its series of minutes."""
    measured = [worker for worker in workers if worker.is_measured]
    perfs = [believed_perf(worker) for worker in measured]
    perf = fmean(perfs) if perfs else None
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
        "usd_per_1k_load": usd / 3600 / perf * 1000 if perf else None,
        "queue_p50_s": _quantile(waits, 0.5),
        "queue_p95_s": _quantile(waits, 0.95),
        "error_share": error_share(workers),
        "cache_hit_share": hit_share(w.cache for w in workers if w.state.is_answering),
        "load_time_s": median(loads) if loads else None,
        "load_parts_s": loading.usual(worker.first_load for worker in workers),
        "start_parts_s": loading.usual(worker.last_start for worker in workers),
        "verdict": _verdict(len(measured), n_requests),
    }


def error_share(workers: Sequence[Worker]) -> float | None:
    """Share of requests that failed or were turned away; None where none came.

    Failures are known of our own workers only; the vendor's report a model's error 500 as success.
    """
    n_errored = sum(worker.n_errored for worker in workers)
    n_ended = n_errored + sum(worker.n_served for worker in workers)
    rejected = sum(worker.rejected_load for worker in workers)
    offered = rejected + sum(worker.received_load for worker in workers)
    if not n_ended and not offered:
        return None
    turned_away = rejected / offered if offered > 0 else 0.0
    failed = n_errored / n_ended if n_ended else 0.0
    return turned_away + (1.0 - turned_away) * failed


def _standard_error(perfs: Sequence[float]) -> float | None:
    """Of the mean perf; None where one worker alone was measured."""
    return stdev(perfs) / math.sqrt(len(perfs)) if len(perfs) > 1 else None


def name_cheapest(rows: Sequence[Row], workers: Mapping[object, Sequence[Worker]]) -> list[Row]:
    """The rows with verdicts that compare: which autogroup is cheapest for its load, how surely.

    `workers`: of each row, by its autogroup's id. Rows that need more data keep saying so.
    Two prices differ where Welch's test of dollars per load of each machine says p < 0.05.
    """
    prices = {
        row["autogroup_id"]: [
            worker.usd_per_hour / believed_perf(worker)
            for worker in workers[row["autogroup_id"]]
            if worker.is_measured
        ]
        for row in rows
        if row["verdict"] == ENOUGH
    }
    if not prices:
        return list(rows)
    best = min(prices, key=lambda key: fmean(prices[key]))
    chances = {key: welch_p(prices[key], prices[best]) for key in prices if key != best}
    told: dict[object, str] = {
        key: f"dearer than {best} (p={p:.2f})"
        if p < SURELY
        else f"no difference from {best} (p={p:.2f})"
        for key, p in chances.items()
    }
    if not chances:
        told[best] = "nothing to compare it with"
    elif max(chances.values()) < SURELY:
        told[best] = "cheapest for its load"
    else:
        told[best] = "no dearer than the others"
    return [row | {"verdict": told.get(row["autogroup_id"], row["verdict"])} for row in rows]


def welch_p(ones: Sequence[float], others: Sequence[float]) -> float:
    """How probable so large a difference of means is by chance (two-sided); each has two or more.

    Welch's t-test, its degrees of freedom after Satterthwaite; Student's distribution by Simpson's
    rule.
    """
    parts = [variance(values) / len(values) for values in (ones, others)]
    gap = abs(fmean(ones) - fmean(others))
    if not sum(parts):
        return 1.0 if not gap else 0.0
    weights = zip(parts, (len(ones), len(others)), strict=True)
    freedom = sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in weights)
    t = gap / math.sqrt(sum(parts))
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
    scale /= math.sqrt(freedom * math.pi)
    step = t / SIMPSON_STEPS
    inside: float = sum(
        (1 if i in (0, SIMPSON_STEPS) else 4 if i % 2 else 2)
        * (1 + (i * step) ** 2 / freedom) ** (-(freedom + 1) / 2)
        for i in range(SIMPSON_STEPS + 1)
    )
    return max(0.0, 1.0 - 2.0 * scale * inside * step / 3.0)


def _verdict(n_measured: int, n_requests: int) -> str:
    """ENOUGH, or what is still missing."""
    missing = [
        count(n_more, f"more {noun}")
        for n_more, noun in (
            (ENOUGH_WORKERS - n_measured, "measured worker"),
            (ENOUGH_REQUESTS - n_requests, "request"),
        )
        if n_more > 0
    ]
    return f"needs {' and '.join(missing)}" if missing else ENOUGH


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
