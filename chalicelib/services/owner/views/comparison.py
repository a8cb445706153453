"""Autogroups of a group side by side: which hardware serves best for its price."""

from __future__ import annotations

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.scopes import autogroup_scope
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.comparison import Row, compare_hardware, name_cheapest
from chalicelib.ports.bundles import ApiPorts


def compare_autogroups(ports: ApiPorts, group: EndpointGroup, hours: float) -> list[Row]:
    """One row for each autogroup, from its workers now and its series over some hours."""
    minute = int(ports.clock.now() // 60)
    workers = ports.workers.list(group.endpoint_id)
    rows: list[Row] = []
    workers_of: dict[object, list[Worker]] = {}
    for autogroup in ports.groups.list_autogroups(group.endpoint_id):
        own = [w for w in workers if w.autogroup_id == autogroup.autogroup_id]
        workers_of[autogroup.autogroup_id] = own
        scope = autogroup_scope(autogroup.autogroup_id)
        minutes = ports.series.read(scope, minute - int(hours * 60), minute)
        rows.append(compare_hardware(autogroup, own, [values for _, values in minutes]))
    return name_cheapest(rows, workers_of)
