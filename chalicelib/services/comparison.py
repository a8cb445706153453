"""Autogroups of a group side by side: which hardware serves best for its price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from chalicelib.core.autogroup import Autogroup
from chalicelib.core.endpoint_group import EndpointGroup
from chalicelib.core.load import believed_perf
from chalicelib.core.worker import Worker
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.audit import autogroup_scope

Row = dict[str, object]

ENOUGH_WORKERS = 2
ENOUGH_REQUESTS = 100


def compare_autogroups(ports: ApiPorts, group: EndpointGroup, hours: float) -> list[Row]:
    """One row for each autogroup, from its workers now and its series over some hours."""
    minute = int(ports.clock.now() // 60)
    workers = ports.workers.list(group.endpoint_id)
    rows = []
    for autogroup in ports.groups.list_autogroups(group.endpoint_id):
        own = [w for w in workers if w.autogroup_id == autogroup.autogroup_id]
        scope = autogroup_scope(autogroup.autogroup_id)
        minutes = ports.series.read(scope, minute - int(hours * 60), minute)
        rows.append(_row(autogroup, own, [values for _, values in minutes]))
    return rows


def _row(
    autogroup: Autogroup, workers: Sequence[Worker], minutes: Sequence[Mapping[str, float]]
) -> Row:
    measured = [worker for worker in workers if worker.is_measured]
    perf = sum(map(believed_perf, measured)) / len(measured) if measured else 0.0
    usd = sum(worker.usd_per_hour for worker in measured) / len(measured) if measured else 0.0
    waits = sorted(values["queue_time_s"] for values in minutes if "queue_time_s" in values)
    received = sum(worker.received_load for worker in workers)
    rejected = sum(worker.rejected_load for worker in workers)
    loads = [w.loaded_at - w.created_at for w in workers if w.loaded_at > 0]
    n_requests = sum(worker.reqnum for worker in workers)
    return {
        "autogroup_id": autogroup.autogroup_id,
        "template_hash": autogroup.template_hash,
        "gpu_types": sorted({f"{w.num_gpus}x {w.gpu_name}" for w in workers}),
        "n_workers": len(workers),
        "n_requests": n_requests,
        "perf_mean": perf,
        "usd_per_1k_load": usd / 3600 / perf * 1000 if perf > 0 else None,
        "queue_p50_s": _quantile(waits, 0.5),
        "queue_p95_s": _quantile(waits, 0.95),
        "error_share": min(1.0, rejected / received) if received > 0 else 0.0,
        "load_time_s": median(loads) if loads else None,
        "verdict": _verdict(len(measured), n_requests),
    }


def _verdict(n_measured: int, n_requests: int) -> str:
    if n_measured >= ENOUGH_WORKERS and n_requests >= ENOUGH_REQUESTS:
        return "enough data"
    return f"not enough data ({n_measured} measured workers, {n_requests} requests)"


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None
