"""Creating autogroups: identical creates make one, an unknown endpoint name makes the endpoint."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState, ParameterError
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.autogroups import (
    autogroup_values,
    changed_autogroup,
    check_launchable,
    new_autogroup,
    record_autogroup_change,
)
from chalicelib.services.owner.groups import (
    IDEMPOTENCY_S,
    create_group,
    group_by_name,
    visible_group,
)
from chalicelib.services.routing.views import publish_directory
from chalicelib.wire.management import AutogroupChanges, EndpointChanges

ADD_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class CreatedAutogroup:
    """What a create made; `new_group` is the endpoint group that it had to make too."""

    autogroup: Autogroup
    new_group: EndpointGroup | None


def create_autogroup(
    ports: ApiPorts, caller: Caller, changes: AutogroupChanges
) -> CreatedAutogroup:
    """Create an autogroup, or give the identical one of the last minute.

    An unknown endpoint name makes the endpoint group, with the defaults.

    Raises:
        ParameterError: a bad parameter, or nothing says what to launch.
        NotFoundError: no such endpoint id within the key's scope.
        ConflictError: others created autogroups again and again meanwhile.
    """
    now = ports.clock.now()
    # Checked in full before a group is made for it.
    wanted = changed_autogroup(new_autogroup(0, now), changes)
    check_launchable(wanted)
    group, is_new = _group_for(ports, caller, changes, now)
    wanted = replace(wanted, endpoint_id=group.endpoint_id)
    autogroup = _twin_or_added(ports, caller, wanted, now)
    publish_directory(ports)
    ports.poke.poke(group.endpoint_id, "autogroup_created")
    return CreatedAutogroup(autogroup, group if is_new else None)


def _group_for(
    ports: ApiPorts, caller: Caller, changes: AutogroupChanges, now: float
) -> tuple[EndpointGroup, bool]:
    """The group that a new autogroup belongs to, and whether it was made for it."""
    if changes.endpoint_id:
        group: EndpointGroup | None = visible_group(ports, caller, changes.endpoint_id)
    elif changes.endpoint_name:
        group = group_by_name(ports, caller, changes.endpoint_name)
    else:
        raise ParameterError("endpoint_name: missing; give endpoint_name or endpoint_id")
    if group is None and caller.endpoint_id is not None:
        raise NotFoundError("Endpoint job ID not found")
    if group is None:
        created = create_group(ports, caller, EndpointChanges(name=changes.endpoint_name), now)
        return created, True
    if group.state is GroupState.DELETING:
        raise ParameterError(f"endpoint group {group.name!r} is being deleted")
    return group, False


def _twin_or_added(ports: ApiPorts, caller: Caller, wanted: Autogroup, now: float) -> Autogroup:
    """The twin of a moment ago, or the new autogroup; creates at the same time make one."""
    for _ in range(ADD_ATTEMPTS):
        n_before = ports.groups.n_autogroups_added()
        twin = _recent_twin(ports, wanted, now)
        if twin is not None:
            return twin
        autogroup = replace(wanted, autogroup_id=ports.groups.next_id())
        with suppress(ConflictError):  # another create came in between: it may be the twin
            ports.groups.add_autogroup(autogroup, n_before=n_before)
            record_autogroup_change(ports, caller, now, "created", None, autogroup)
            return autogroup
    raise ConflictError("other autogroups are being created at the same time; try again")


def _recent_twin(ports: ApiPorts, wanted: Autogroup, now: float) -> Autogroup | None:
    """The autogroup that an identical create made a moment ago."""
    return next(
        (
            autogroup
            for autogroup in ports.groups.list_autogroups(wanted.endpoint_id)
            if autogroup_values(autogroup) == autogroup_values(wanted)
            and now - autogroup.created_at <= IDEMPOTENCY_S
        ),
        None,
    )
