"""Logs, workers, stats, series, events and `/update_workers/` (protocol.md E.3)."""

from __future__ import annotations

import re
from collections.abc import Callable

from chalice import Blueprint

from chalicelib.api.auth import PUBLIC, Call, Routes
from chalicelib.api.errors import OK, text_response
from chalicelib.core.model.scopes import ACCOUNT_SCOPE
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotDeployedError, NotFoundError, PortError
from chalicelib.services.owner import autogroups, groups, rollouts
from chalicelib.services.owner.views import observability, status
from chalicelib.services.owner.views.observability import Subject
from chalicelib.wire.json_body import WireError
from chalicelib.wire.observability import prometheus_text

_METRIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_: ./-]{0,63}")


def observability_blueprint(get_ports: Callable[[], ApiPorts]) -> Blueprint:
    """The routes that show what happens."""
    blueprint = Blueprint(__name__)
    routes = Routes(blueprint, get_ports)
    for name in ("endpoint", "autogroup", "workergroup"):
        _register_reads(routes, name)
    _register_update(routes)
    _register_series(routes)
    _register_health(routes)
    return blueprint


def _register_reads(routes: Routes, name: str) -> None:
    is_group = name == "endpoint"
    find = _endpoint_subject if is_group else _autogroup_subject
    # What the vendor's clients and documents send (protocol.md E.3); another field is a slip.
    subject_fields = ("id", "endpoint_id", "endpoint") if is_group else ("id", "autogroup_id")

    @routes.route("POST", f"/get_{name}_logs", "read", fields=(*subject_fields, "tail"))
    def get_logs(call: Call) -> object:
        tail = call.whole("tail", low=-1)
        return observability.read_logs(call.ports, find(call), -1 if tail is None else tail)

    @routes.route("POST", f"/get_{name}_workers", "read", fields=subject_fields)
    def get_workers(call: Call) -> object:
        workers = observability.list_workers(call.ports, find(call))
        return [observability.worker_row(worker) for worker in workers]

    spanned = (*subject_fields, "metric_name", "t1", "t2")

    @routes.route("POST", f"/get_{name}_stats", "read", fields=spanned)
    def get_stats(call: Call) -> object:
        subject, metric = find(call), call.text("metric_name", max_length=64)
        if metric is None:
            return {**OK, **observability.current_stats(call.ports, subject, call.now)}
        if not _METRIC.fullmatch(metric):
            raise WireError(f"metric_name: {metric!r} is not the name of a metric")
        span = _span(call)
        points = observability.read_metric(call.ports, subject, metric, span)
        return {
            **OK,
            "id": subject.subject_id,
            "endpoint": subject.group.name,
            "metric_name": metric,
            "t1": span[0],
            "t2": span[1],
            "points": [[at, value] for at, value in points],
        }


def _register_update(routes: Routes) -> None:
    fields = (  # a slip would begin an update
        "workergroup_id", "autogroup_id", "cancel_update", "revision",
    )  # fmt: skip

    @routes.route("POST", "/update_workers", "admin", fields=fields)
    def update_workers(call: Call) -> object:
        autogroup_id = call.whole("workergroup_id")
        if autogroup_id is None:
            autogroup_id = call.whole("autogroup_id")
        if autogroup_id is None:
            raise WireError("workergroup_id: missing")
        if not call.flag("cancel_update"):
            warnings = rollouts.warnings_of(call.ports, call.caller, autogroup_id)
            n = rollouts.start_update(call.ports, call.caller, autogroup_id, call.whole("revision"))
            return {**OK, "workers_to_update": n, **({"warnings": warnings} if warnings else {})}
        if rollouts.cancel_update(call.ports, call.caller, autogroup_id):
            return {**OK, "cancelled": True}
        return {"success": False, "error_msg": "no update of this workergroup is in progress"}


def _register_series(routes: Routes) -> None:
    @routes.route("GET", "/api/v0/series", "read")
    def get_series(call: Call) -> object:
        max_points = call.whole("max_points", low=2, high=2000) or 300
        subject = _any_subject(call)
        return {**OK, **observability.read_series(call.ports, subject, _span(call), max_points)}

    @routes.route("GET", "/api/v0/events", "read")
    def get_events(call: Call) -> object:
        if call.flag("account"):
            if call.caller.endpoint_id is not None:
                raise NotFoundError("the account's events need a key of the account")
            scope = ACCOUNT_SCOPE
        else:
            scope = _any_subject(call).scope
        kinds, since = call.text("kinds"), call.number("since") or 0.0
        if since < 0:
            raise WireError(f"since: {since:g} is negative; give epoch seconds")
        rows = observability.read_events(
            call.ports,
            scope,
            limit=call.whole("limit", low=1, high=1000) or 100,
            since=since,
            kinds=frozenset(kinds.split(",")) if kinds else None,
        )
        return {**OK, "events": rows}


def _register_health(routes: Routes) -> None:
    deployed: list[bool] = []  # once it was, this process need not ask again

    @routes.route("GET", "/health", PUBLIC)
    def health(call: Call) -> object:
        if not deployed:
            try:
                call.ports.ledger.account()
            except NotDeployedError:
                raise
            except PortError:  # alive all the same, and nothing is known of the tables
                return {**OK, "now": call.now}
            deployed.append(True)
        return {**OK, "now": call.now}

    @routes.route("GET", "/metrics", "read")
    def metrics(call: Call) -> object:
        samples = status.metric_samples(call.ports, call.caller, call.now)
        return text_response(prometheus_text(samples), "text/plain; version=0.0.4; charset=utf-8")


def _endpoint_subject(call: Call) -> Subject:
    """The group named by `id`, `endpoint_id` or `endpoint`."""
    endpoint_id = call.whole("id")
    if endpoint_id is None:
        endpoint_id = call.whole("endpoint_id")
    if endpoint_id is not None:
        return Subject(group=groups.visible_group(call.ports, call.caller, endpoint_id))
    name = call.text("endpoint")
    if name is None:
        raise WireError("id: missing; give id or endpoint")
    group = groups.group_by_name(call.ports, call.caller, name)
    if group is None:
        raise NotFoundError("Endpoint job ID not found")
    return Subject(group=group)


def _autogroup_subject(call: Call) -> Subject:
    """The autogroup named by `id` or `autogroup_id`."""
    autogroup_id = call.whole("id")
    if autogroup_id is None:
        autogroup_id = call.whole("autogroup_id")
    if autogroup_id is None:
        raise WireError("id: missing")
    autogroup = autogroups.visible_autogroup(call.ports, call.caller, autogroup_id)
    group = groups.visible_group(call.ports, call.caller, autogroup.endpoint_id)
    return Subject(group=group, autogroup=autogroup)


def _any_subject(call: Call) -> Subject:
    if call.argument("autogroup_id") is not None:
        return _autogroup_subject(call)
    return _endpoint_subject(call)


def _span(call: Call) -> tuple[float, float]:
    t2 = call.number("t2")
    t2 = call.now if t2 is None else t2
    t1 = call.number("t1")
    return (t2 - 3600.0 if t1 is None else t1), t2
