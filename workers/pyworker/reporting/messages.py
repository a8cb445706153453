"""What a PyWorker tells the control plane: the JSON of reports and of finished requests.

The field names and meanings are those of the vendor's SDK 1.9 (so that its tools understand them),
plus the key `ticket: "D"`, the boot id, a sequence number and the cumulative counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.wire.reports import MAX_NUMBER
from workers.pyworker.readiness import Readiness
from workers.pyworker.reporting.cache_window import CacheWindow
from workers.pyworker.reporting.load_ledger import Counters, FinishedRequest, LoadLedger, Outcome

REPORT_VERSION = "2.1.0"
"""Above 1.1.0, so that a control plane that only knows `version` takes us for the newest. Since 2.1
we read tickets that name their key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reporter:
    """Who reports."""

    instance_id: int
    boot_id: str
    url: str
    master_token: str
    certificate_sha256: str  # hex of the DER certificate; empty without TLS
    slots: int  # requests the model server works on at once; 0: not known

    def __repr__(self) -> str:
        return f"Reporter(instance_id={self.instance_id}, boot_id={self.boot_id!r})"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Gigabytes used on the container's disk: now, and at the last acknowledged report."""

    now_gb: float
    acknowledged_gb: float


def status_report(  # noqa: PLR0913  a report has as many sources
    reporter: Reporter,
    readiness: Readiness,
    ledger: LoadLedger,
    acknowledged: Counters,
    seq: int,
    disk: DiskUsage,
    cache: CacheWindow,
    now_s: float,
) -> dict[str, object]:
    """The body for `/worker_status/`; rates of change are against `acknowledged`.

    `load_phases` are the seconds of each part of the newest start, told until it is over and kept.
    """
    now = ledger.counters
    arrived = now.received_workload - now.cancelled_workload
    arrived_before = acknowledged.received_workload - acknowledged.cancelled_workload
    report: dict[str, object] = {
        "id": reporter.instance_id,
        "mtoken": reporter.master_token,
        "version": REPORT_VERSION,
        "ticket": "D",
        "boot_id": reporter.boot_id,
        "seq": seq,
        "url": reporter.url,
        "certificate_sha256": reporter.certificate_sha256,
        "slots": readiness.slots or reporter.slots,
        "loadtime": readiness.load_time_s,
        "load_phases": readiness.phases.durations_s(now_s),
        "models": list(readiness.models),
        "max_perf": readiness.perf if readiness.is_ready else 0.0,
        "error_msg": readiness.error,
        "cur_load": ledger.working_workload,
        "new_load": max(arrived - arrived_before, 0.0),
        "rej_load": now.rejected_workload - acknowledged.rejected_workload,
        "cur_perf": now.served_workload - acknowledged.served_workload,
        "cur_capacity": 0,
        "max_capacity": 0,
        "num_requests_working": ledger.n_working,
        "num_requests_recieved": now.n_received + now.n_rejected,
        "working_request_idxs": ledger.working_request_idxs,
        "disk_usage": disk.now_gb,
        "additional_disk_usage": disk.now_gb - disk.acknowledged_gb,
        "received_load": now.received_load,
        "finished_load": now.finished_load,
        "rejected_load": now.rejected_load,
        "received_workload": now.received_workload,
        "finished_workload": now.finished_workload,
        "served_workload": now.served_workload,
        "n_received": now.n_received,
        "n_served": now.n_served,
        "n_errored": now.n_errored,
        "n_cancelled": now.n_cancelled,
        "n_rejected": now.n_rejected + now.n_full,
        "n_refused": now.n_refused,
        "max_reqnum": now.max_reqnum,
        "busy_s": now.busy_s,
        **cache.fields(),
    }
    return {name: _bounded(value) for name, value in report.items()}


def _bounded(value: object) -> object:
    """What the receiver takes: one number beyond its bounds would have the whole report refused.

    A ticket of generation C says whatever cost its holder writes, as often as he likes.
    """
    return min(max(value, 0.0), MAX_NUMBER) if isinstance(value, float) else value


def finished_requests(reporter: Reporter, batch: Sequence[FinishedRequest]) -> dict[str, object]:
    """The body for `/delete_requests/`."""
    return {
        "worker_id": reporter.instance_id,
        "mtoken": reporter.master_token,
        "boot_id": reporter.boot_id,
        "requests": [_finished(request) for request in batch],
    }


def _finished(request: FinishedRequest) -> dict[str, object]:
    return {
        "request_idx": request.facts.request_idx,
        "reqnum": request.facts.reqnum,
        "cost": request.facts.cost,
        "workload": request.facts.workload,
        "route": request.facts.route,
        "used": request.used,  # load really done; null: the answer told nothing
        # The wire counts a cancelled request as a success: the worker did nothing wrong.
        "success": request.outcome in (Outcome.SERVED, Outcome.CANCELLED, Outcome.REFUSED),
        "status": request.outcome.value,
        "entered_queue_at": request.entered_at,
        "work_started_at": request.work_started_at,
        "work_completed_at": request.completed_at,
    }
