"""`/api/v0/endptjobs/`, `/api/v0/autojobs/` with its alias `/api/v0/workergroups/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from chalice import Blueprint

from chalicelib.api.auth import Call, Routes
from chalicelib.api.errors import OK
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.words import count
from chalicelib.ports.bundles import ApiPorts
from chalicelib.services.owner import autogroups, groups
from chalicelib.services.owner.autogroup_creation import create_autogroup as make_autogroup
from chalicelib.services.owner.caution import overruled
from chalicelib.services.owner.views.doctor import template_warnings
from chalicelib.wire.json_body import whole_of_text
from chalicelib.wire.management import parse_autogroup_changes, parse_endpoint_changes


def management_blueprint(get_ports: Callable[[], ApiPorts]) -> Blueprint:
    """The routes of endpoint groups and autogroups."""
    blueprint = Blueprint(__name__)
    routes = Routes(blueprint, get_ports)
    _register_endpoints(routes)
    for path in ("/api/v0/autojobs", "/api/v0/workergroups"):
        _register_autogroups(routes, path)
    return blueprint


def _register_endpoints(routes: Routes) -> None:
    @routes.route("GET", "/api/v0/endptjobs", "read")
    def list_endpoints(call: Call) -> object:
        visible = groups.list_groups(call.ports, call.caller)
        rows = [groups.endpoint_row(call.ports, call.caller, group) for group in visible]
        return {**OK, "results": rows}

    @routes.route("GET", "/api/v0/endptjobs/{id}", "read")
    def show_endpoint(call: Call, id: str) -> object:
        group = groups.visible_group(call.ports, call.caller, whole_of_text("id", id))
        return {**OK, "result": groups.endpoint_row(call.ports, call.caller, group)}

    @routes.route("POST", "/api/v0/endptjobs", "admin", account_only=True)
    def create_endpoint(call: Call) -> object:
        changes = parse_endpoint_changes(call.body)
        group = groups.create_group(call.ports, call.caller, changes, call.now)
        row = groups.endpoint_row(call.ports, call.caller, group)
        return {
            **OK,
            "result": group.endpoint_id,
            "endpoint": _without_key(row),
            "warnings": overruled(group, call.ports.ledger.account()),
        }

    @routes.route("PUT", "/api/v0/endptjobs/{id}", "admin")
    def update_endpoint(call: Call, id: str) -> object:
        changes = parse_endpoint_changes(call.body)
        endpoint_id = whole_of_text("id", id)
        group = groups.update_group(call.ports, call.caller, endpoint_id, changes)
        row = groups.endpoint_row(call.ports, call.caller, group)
        return {
            **OK,
            "endpoint": row if changes.rotate_key else _without_key(row),
            "warnings": overruled(group, call.ports.ledger.account()),
        }

    @routes.route("DELETE", "/api/v0/endptjobs/{id}", "admin")
    def delete_endpoint(call: Call, id: str) -> object:
        endpoint_id = whole_of_text("id", id)
        groups.delete_group(call.ports, call.caller, endpoint_id)
        workers = call.ports.workers.list(endpoint_id)
        return _deletion([worker.instance_id for worker in workers])


def _register_autogroups(routes: Routes, path: str) -> None:
    @routes.route("GET", path, "read")
    def list_autogroups(call: Call) -> object:
        found = autogroups.list_autogroups(call.ports, call.caller)
        return {**OK, "results": autogroups.autogroup_rows(call.ports, call.caller, found)}

    @routes.route("GET", path + "/{id}", "read")
    def show_autogroup(call: Call, id: str) -> object:
        autogroup_id = whole_of_text("id", id)
        found = autogroups.visible_autogroup(call.ports, call.caller, autogroup_id)
        return {**OK, "result": _row(call, found)}

    @routes.route("POST", path, "admin")
    def create_autogroup(call: Call) -> object:
        changes = parse_autogroup_changes(call.body)
        created = make_autogroup(call.ports, call.caller, changes)
        autogroup, group = created.autogroup, created.new_group
        answer = {
            **OK,
            "id": autogroup.autogroup_id,
            "autogroup": _without_key(_row(call, autogroup)),
            "warnings": [
                *template_warnings(call.ports, autogroup.template_hash or ""),
                *_overruled(call, autogroup),
            ],
        }
        if group is None:
            return answer
        row = groups.endpoint_row(call.ports, call.caller, group)
        return {
            **answer,
            "endpoint": _without_key(row),
            "msg": f"endpoint group {group.name!r} did not exist and was created with the defaults "
            "shown under 'endpoint'; check that they suit you",
        }

    @routes.route("PUT", path + "/{id}", "admin")
    def update_autogroup(call: Call, id: str) -> object:
        changes = parse_autogroup_changes(call.body)
        autogroup_id = whole_of_text("id", id)
        changed = autogroups.update_autogroup(call.ports, call.caller, autogroup_id, changes)
        return {
            **OK,
            "autogroup": _without_key(_row(call, changed)),
            "warnings": _overruled(call, changed),
        }

    @routes.route("DELETE", path + "/{id}", "admin")
    def delete_autogroup(call: Call, id: str) -> object:
        autogroup_id = whole_of_text("id", id)
        found = autogroups.visible_autogroup(call.ports, call.caller, autogroup_id)
        autogroups.delete_autogroup(call.ports, call.caller, autogroup_id)
        workers = call.ports.workers.list(found.endpoint_id)
        return _deletion([w.instance_id for w in workers if w.autogroup_id == autogroup_id])


def _without_key(row: Mapping[str, object]) -> dict[str, object]:
    """A row as an answer to a change shows it: programs print those into their logs."""
    return {name: value for name, value in row.items() if name != "api_key"}


def _row(call: Call, autogroup: Autogroup) -> dict[str, object]:
    (row,) = autogroups.autogroup_rows(call.ports, call.caller, [autogroup])
    return row


def _overruled(call: Call, autogroup: Autogroup) -> list[str]:
    group = groups.visible_group(call.ports, call.caller, autogroup.endpoint_id)
    return overruled(group, call.ports.ledger.account(), [autogroup])


def _deletion(instance_ids: list[int]) -> dict[str, object]:
    return {
        **OK,
        "deleted_workers": instance_ids,
        "failed_workers": [],
        "msg": count(len(instance_ids), "worker is", "workers are")
        + " being drained and destroyed",
    }
