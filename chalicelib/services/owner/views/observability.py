"""What owners and peers read: logs, workers, stats and series of groups and autogroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, ParameterError
from chalicelib.core.model.load import believed_perf, reliability
from chalicelib.core.model.scopes import autogroup_scope, endpoint_scope
from chalicelib.core.model.vouching import vouch
from chalicelib.core.model.warmth import hit_share
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.minute_series import newest
from chalicelib.core.scaling.reasons import FOLLOWING, explain
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.event_log import Event
from chalicelib.services.owner.facts import read_memory, usd_per_hour_now
from chalicelib.wire.observability import log_texts

MAX_EVENTS = 5_000
MAX_SERIES_S = 31 * 86_400.0
READY_ON_THE_WIRE = "idle"  # the vendor's word, compared for equality by its own helpers

Row = dict[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A group, or one of its autogroups, that somebody asks about."""

    group: EndpointGroup
    autogroup: Autogroup | None = None

    @property
    def scope(self) -> str:
        """Of its events and series."""
        if self.autogroup is not None:
            return autogroup_scope(self.autogroup.autogroup_id)
        return endpoint_scope(self.group.endpoint_id)

    @property
    def subject_id(self) -> int:
        """The id that peers know it by."""
        return self.autogroup.autogroup_id if self.autogroup else self.group.endpoint_id


def read_logs(ports: ApiPorts, subject: Subject, tail: int) -> dict[str, str]:
    """The four levels, each cut to its last `tail` lines; -1 = all. What is left out is told."""
    events = ports.events.tail(subject.scope, limit=MAX_EVENTS + 1)
    lines = [(event.at, event.level, _log_message(event)) for event in events[-MAX_EVENTS:]]
    return log_texts(lines, tail, has_older=len(events) > MAX_EVENTS)


def list_workers(ports: ApiPorts, subject: Subject) -> Sequence[Worker]:
    """The workers, by instance id."""
    workers = ports.workers.list(subject.group.endpoint_id)
    chosen = subject.autogroup
    return [w for w in workers if chosen is None or w.autogroup_id == chosen.autogroup_id]


def current_load(worker: Worker) -> float:
    """The load per second that comes to it: none comes to one that does not answer."""
    return worker.load_rate if worker.state.is_answering else 0.0


def worker_row(worker: Worker) -> Row:
    """A worker as peers read it, with our own keys beside; no value is null."""
    measured = worker.perf if worker.is_measured else worker.dlperf
    not_rejected = reliability([worker])
    load = current_load(worker)
    first_mark = worker.granted_marks[0][1] if worker.granted_marks else worker.granted_load
    return {
        "id": worker.instance_id,
        "status": READY_ON_THE_WIRE if worker.state is WorkerState.READY else worker.state.value,
        "cur_load": load,
        "new_load": max(0.0, worker.granted_load - first_mark)
        if worker.state.is_answering
        else 0.0,
        "cur_load_rolling_avg": load,
        "cur_perf": worker.observed_perf or worker.perf,
        "measured_perf": measured,
        "perf": measured * not_rejected,
        "dlperf": worker.dlperf,
        "reliability": not_rejected,
        "reqs_working": worker.n_working if worker.state.is_answering else 0,
        "disk_usage": worker.disk_usage_gb,
        "loaded_at": worker.loaded_at,
        "started_at": worker.started_at,
        "created_at": worker.created_at,
        "gpu_name": worker.gpu_name,
        "url": worker.url,
        **_own_keys(worker),
    }


def current_stats(ports: ApiPorts, subject: Subject, now: float) -> Row:
    """Figures of this moment, and of the last minutes for rates; None: nobody knows it now."""
    workers = vouch(list_workers(ports, subject), now)
    ready = [worker for worker in workers if worker.state is WorkerState.READY]
    cold = [worker for worker in workers if worker.state is WorkerState.STOPPED]
    minute = newest_minute(ports, read_memory(ports), subject.scope, now)
    hits = hit_share(worker.cache for worker in workers if worker.state.is_answering)
    return {
        "id": subject.subject_id,
        "endpoint": subject.group.name,
        "nworkers": len(workers),
        "totreqs": sum(worker.reqnum for worker in workers),
        "curload": sum(current_load(worker) for worker in workers),
        "capacity": sum(believed_perf(worker) for worker in ready),
        "reliable": reliability(workers),
        "reqrate": minute.get("reqrate"),
        "cold_capacity": sum(believed_perf(worker) for worker in cold),
        "ready": len(ready),
        "cold": len(cold),
        "queue_time_s": known_wait(minute, is_any_ready=bool(ready)),
        "late_share": minute.get("late_share"),
        "waiting": int(minute["waiting"]) if "waiting" in minute else None,
        "usd_per_hour": sum(usd_per_hour_now(worker) for worker in workers),
        **({} if hits is None else {"cache_hit_share": hits}),
    }


def known_wait(minute: Mapping[str, float], *, is_any_ready: bool) -> float | None:
    """Seconds that a new request would wait.

    Without a ready worker, and with none expected, nobody knows.
    """
    expected = minute.get("queue_time_s")
    return expected if is_any_ready or expected else None


def newest_minute(
    ports: ApiPorts, memory: RoundMemory, scope: str, now: float
) -> Mapping[str, float]:
    """The newest values: of the minute in progress, else of the last five; empty without any."""
    minute = int(now // 60)
    rows = ports.series.read(scope, minute - 5, minute)
    sums = memory.minutes.get(scope, {})
    is_recent = int(sums.get("minute", 0)) >= minute - 5
    return newest(rows[-1][1] if rows else {}, sums if is_recent else {})


def read_metric(
    ports: ApiPorts, subject: Subject, metric: str, span: tuple[float, float]
) -> Sequence[tuple[int, float]]:
    """(time, value) of one metric's minutes within a span of times.

    Raises:
        ParameterError: the span is empty or too long.
    """
    rows = _minutes(ports, subject, span)
    return [(minute * 60, values[metric]) for minute, values in rows if metric in values]


def read_series(
    ports: ApiPorts, subject: Subject, span: tuple[float, float], max_points: int
) -> Row:
    """All metrics as columns: means over as many minutes as keep the points within `max_points`.

    Raises:
        ParameterError: the span is empty or too long.
    """
    rows = _minutes(ports, subject, span)
    first, last = int(span[0] // 60), int(span[1] // 60)
    step = max(1, -(-(last - first + 1) // max_points))
    buckets: dict[int, list[Mapping[str, float]]] = {}
    for minute, values in rows:
        buckets.setdefault((minute - first) // step, []).append(values)
    names = sorted({name for _, values in rows for name in values})
    ordered = sorted(buckets)
    return {
        "t": [(first + bucket * step) * 60 for bucket in ordered],
        "step_s": step * 60,
        "values": {name: [_mean(buckets[b], name) for b in ordered] for name in names},
    }


def read_events(
    ports: ApiPorts, scope: str, *, limit: int, since: float, kinds: frozenset[str] | None
) -> list[Row]:
    """Events of a scope, newest first."""
    events = ports.events.tail(scope, limit=limit, since=since, kinds=kinds)
    return [event_row(event) for event in reversed(events)]


def event_row(event: Event) -> Row:
    """An event as plain JSON."""
    return {
        "at": event.at,
        "scope": event.scope,
        "level": event.level,
        "kind": event.kind,
        "message": event.message,
        "facts": dict(event.facts),
        "actor": event.actor,
        "event_id": event.event_id,
    }


def has_cause(decision: Event) -> bool:
    """Whether a decision has a cause of its own; that a drain ended only follows from another."""
    reason = decision.facts.get("reason")
    return not (isinstance(reason, Mapping) and reason.get("code") in FOLLOWING)


def _log_message(event: Event) -> str:
    """The message; of a decision with its reason as a sentence."""
    reason = event.facts.get("reason")
    if not isinstance(reason, Mapping):
        return event.message
    facts = reason.get("facts")
    sentence = explain(str(reason.get("code", "")), facts if isinstance(facts, Mapping) else {})
    return event.message if sentence in event.message else f"{event.message}. {sentence}"


def _minutes(
    ports: ApiPorts, subject: Subject, span: tuple[float, float]
) -> Sequence[tuple[int, Mapping[str, float]]]:
    t1, t2 = span
    if not 0 <= t1 < t2 or t2 - t1 > MAX_SERIES_S:
        raise ParameterError(f"t1, t2: {t1!r}, {t2!r}; give epoch seconds, t1 before t2, ≤ 31 days")
    return ports.series.read(subject.scope, int(t1 // 60), int(t2 // 60))


def _mean(minutes: Sequence[Mapping[str, float]], name: str) -> float | None:
    values = [values[name] for values in minutes if name in values]
    return sum(values) / len(values) if values else None


def _own_keys(worker: Worker) -> Row:
    return {
        "state": worker.state.value,
        "state_since": worker.state_since,
        "autogroup_id": worker.autogroup_id,
        "template_revision": worker.template_revision,
        "machine_id": worker.machine_id,
        "host_id": worker.host_id,
        "num_gpus": worker.num_gpus,
        "observed_perf": worker.observed_perf,
        "n_granted": worker.reqnum,
        "n_received": worker.n_received,
        "n_served": worker.n_served,
        "n_cancelled": worker.n_cancelled,
        "n_errored": worker.n_errored,
        "n_rejected": worker.n_rejected,
        "usd_per_hour": worker.usd_per_hour,
        "storage_usd_per_hour": worker.storage_usd_per_hour,
        "is_interruptible": worker.is_bid,
        "is_outbid": worker.is_bid and worker.state is WorkerState.PAUSED,
        "bid_usd_per_hour": worker.bid_usd_per_hour,
        "on_demand_usd_per_hour": worker.on_demand_usd_per_hour,
        "reported_at": worker.reported_at,
        "after_drain": worker.after_drain.value if worker.after_drain else "",
        "drain_by": worker.drain_by or 0.0,
        "error": worker.error,
        "contract_ends_at": worker.contract_ends_at or 0.0,
        "ticket": worker.ticket.value if worker.ticket else "",
    }
