"""Autogroups as their owner handles them: create, show, change, delete; all audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from chalicelib.core.autogroup import Autogroup, AutogroupState, TicketGeneration
from chalicelib.core.endpoint_group import EndpointGroup, GroupState, ParameterError
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.audit import Change, autogroup_scope, endpoint_scope, record_change
from chalicelib.services.keys import Caller, endpoint_key
from chalicelib.services.management import (
    IDEMPOTENCY_S,
    USER_ID,
    create_group,
    group_by_name,
    may_see,
    visible_group,
)
from chalicelib.services.routing_view import publish_directory
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.management import AUTO, AutogroupChanges, EndpointChanges

OWNER_STATES = (AutogroupState.ACTIVE, AutogroupState.PAUSED)

_LAUNCHED = ("template_hash", "template_id", "launch_args")
_PLAIN = (*_LAUNCHED, "search_text", "search_query", "gpu_ram", "test_workers", "weight", "tier")


@dataclass(frozen=True, slots=True)
class CreatedAutogroup:
    """What a create made; `new_group` is the endpoint group that it had to make too."""

    autogroup: Autogroup
    new_group: EndpointGroup | None


def list_autogroups(ports: ApiPorts, caller: Caller) -> Sequence[Autogroup]:
    """The autogroups within the key's scope."""
    return [a for a in ports.groups.list_autogroups() if may_see(caller, a.endpoint_id)]


def visible_autogroup(ports: ApiPorts, caller: Caller, autogroup_id: int) -> Autogroup:
    """One autogroup within the key's scope.

    Raises:
        NotFoundError: unknown, or outside the scope; both look the same.
    """
    autogroup = ports.groups.find_autogroup(autogroup_id)
    if autogroup is None or not may_see(caller, autogroup.endpoint_id):
        raise NotFoundError("Autoscaler job ID not found")
    return autogroup


def create_autogroup(
    ports: ApiPorts, caller: Caller, changes: AutogroupChanges
) -> CreatedAutogroup:
    """Create an autogroup, or give the identical one of the last minute.

    An unknown endpoint name makes the endpoint group, with the defaults.

    Raises:
        ParameterError: a bad parameter, or nothing says what to launch.
        NotFoundError: no such endpoint id within the key's scope.
    """
    now = ports.clock.now()
    # Checked in full before a group is made for it.
    wanted = changed_autogroup(new_autogroup(0, now), changes)
    check_launchable(wanted)
    group, is_new = _group_for(ports, caller, changes, now)
    wanted = replace(wanted, endpoint_id=group.endpoint_id)
    autogroup = _recent_twin(ports, wanted, now) or _add(ports, caller, wanted, now)
    publish_directory(ports)
    ports.poke.poke(group.endpoint_id, "autogroup_created")
    return CreatedAutogroup(autogroup, group if is_new else None)


def update_autogroup(
    ports: ApiPorts, caller: Caller, autogroup_id: int, changes: AutogroupChanges
) -> Autogroup:
    """Change an autogroup; a change of what is launched makes its workers outdated.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
        ParameterError: a bad parameter, or it is being deleted.
        ConflictError: somebody else changed it meanwhile.
    """
    before = visible_autogroup(ports, caller, autogroup_id)
    if before.state is AutogroupState.DELETING:
        raise ParameterError(f"autogroup {autogroup_id} is being deleted")
    _check_not_moved(ports, before, changes)
    if changes.has_cli_default_search and before.search_text:
        # The vendor's CLI sends its defaults when the flag is absent (protocol.md E.2, trap 35).
        changes = replace(changes, search_text=None, search_query=None)
    after = changed_autogroup(before, changes)
    check_launchable(after)
    return store_autogroup(ports, caller, before, after, "changed")


def delete_autogroup(ports: ApiPorts, caller: Caller, autogroup_id: int) -> None:
    """Begin to delete: the scaler drains and destroys the workers, then forgets the autogroup.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
        ConflictError: somebody else changed it meanwhile.
    """
    before = visible_autogroup(ports, caller, autogroup_id)
    store_autogroup(
        ports, caller, before, replace(before, state=AutogroupState.DELETING), "deleted"
    )


def store_autogroup(
    ports: ApiPorts, caller: Caller, before: Autogroup, after: Autogroup, verb: str
) -> Autogroup:
    """Store a change with its audit event, publish it, and poke the scaler.

    Raises:
        ConflictError: somebody else changed the autogroup meanwhile.
    """
    now = ports.clock.now()
    stored = replace(after, revision=before.revision + 1)
    ports.groups.put_autogroup(stored, expected_revision=before.revision)
    _record(ports, caller, now, verb, before, stored)
    publish_directory(ports)
    ports.poke.poke(before.endpoint_id, "autogroup_changed")
    return stored


def new_autogroup(endpoint_id: int, now: float) -> Autogroup:
    """An autogroup with the defaults; it gets its id when it is stored."""
    return Autogroup(autogroup_id=0, endpoint_id=endpoint_id, created_at=now, template_revision=0)


def changed_autogroup(autogroup: Autogroup, changes: AutogroupChanges) -> Autogroup:
    """The autogroup with the changes applied; nothing is stored.

    Raises:
        ParameterError: for the first value out of bounds.
    """
    values: dict[str, object] = {
        name: value for name in _PLAIN if (value := getattr(changes, name)) is not None
    }
    if changes.state is not None:
        values["state"] = _state(changes.state)
    if changes.ticket is not None:
        values["ticket_override"] = _ticket(changes.ticket)
    if changes.legacy_params:
        values["legacy_params"] = {**autogroup.legacy_params, **changes.legacy_params}
    after: Autogroup = replace(autogroup, **values)  # type: ignore[arg-type]  # checked there
    if any(getattr(after, name) != getattr(autogroup, name) for name in _LAUNCHED):
        after = replace(after, template_revision=autogroup.template_revision + 1)
    return after


def check_launchable(autogroup: Autogroup) -> None:
    """Check that something says what to launch.

    Raises:
        ParameterError: neither a template nor an image is given.
    """
    has_image = parse_launch_args(autogroup.launch_args).image is not None
    if not autogroup.template_hash and autogroup.template_id is None and not has_image:
        raise ParameterError(
            "template_hash: missing; give template_hash, template_id, or --image in launch_args"
        )


def autogroup_row(
    ports: ApiPorts, caller: Caller, autogroup: Autogroup, group: EndpointGroup
) -> dict[str, object]:
    """An autogroup as peers and our own command read it."""
    may_route = "route" in caller.verbs
    params = group.params
    return {
        "id": autogroup.autogroup_id,
        "endpoint_id": autogroup.endpoint_id,
        "endpoint_name": group.name,
        "api_key": endpoint_key(ports.secrets, group.endpoint_id, group.key_generation)
        if may_route
        else "",
        "user_id": USER_ID,
        "created_at": autogroup.created_at,
        "min_load": params.min_load,
        "target_util": params.target_util,
        "cold_mult": params.cold_mult,
        "cold_workers": params.cold_workers,
        **autogroup_values(autogroup),
        "revision": autogroup.revision,
        "template_revision": autogroup.template_revision,
        "rollout_by": autogroup.rollout_by,
    }


def autogroup_values(autogroup: Autogroup) -> dict[str, object]:
    """What an owner may change, as plain values."""
    override = autogroup.ticket_override
    return {
        "template_hash": autogroup.template_hash,
        "template_id": autogroup.template_id,
        "search_params": autogroup.search_text,
        "search_query": {field: dict(ops) for field, ops in autogroup.search_query.items()},
        "launch_args": autogroup.launch_args,
        "gpu_ram": autogroup.gpu_ram,
        "test_workers": autogroup.test_workers,
        "weight": autogroup.weight,
        "tier": autogroup.tier,
        "ticket": override.value if override else AUTO,
        "state": autogroup.state.value,
        **autogroup.legacy_params,
    }


def _state(text: str) -> AutogroupState:
    if text not in [state.value for state in OWNER_STATES]:
        raise ParameterError(f"state: {text[:40]!r}; allowed: {', '.join(OWNER_STATES)}")
    return AutogroupState(text)


def _ticket(text: str) -> TicketGeneration | None:
    if text == AUTO:
        return None
    if text not in [generation.value for generation in TicketGeneration]:
        raise ParameterError(f"ticket: {text[:40]!r}; allowed: auto, A, B, C, D")
    return TicketGeneration(text)


def _check_not_moved(ports: ApiPorts, before: Autogroup, changes: AutogroupChanges) -> None:
    group = ports.groups.find_group(before.endpoint_id)
    is_other_id = changes.endpoint_id not in (None, 0, before.endpoint_id)
    is_other_name = bool(changes.endpoint_name) and group and changes.endpoint_name != group.name
    if is_other_id or is_other_name:
        raise ParameterError("endpoint_name: an autogroup cannot move to another endpoint group")


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


def _add(ports: ApiPorts, caller: Caller, wanted: Autogroup, now: float) -> Autogroup:
    autogroup = replace(wanted, autogroup_id=ports.groups.next_id())
    ports.groups.add_autogroup(autogroup)
    _record(ports, caller, now, "created", None, autogroup)
    return autogroup


def _record(
    ports: ApiPorts,
    caller: Caller,
    now: float,
    verb: str,
    before: Autogroup | None,
    after: Autogroup,
) -> None:
    change = Change(
        kind="changed_autogroup",
        scopes=(autogroup_scope(after.autogroup_id), endpoint_scope(after.endpoint_id)),
        message=f"autogroup {after.autogroup_id} {verb}",
        before=_audited(before) if before else {},
        after=_audited(after),
    )
    record_change(ports.events, change, actor=caller.key_id, at=now)


def _audited(autogroup: Autogroup) -> Mapping[str, object]:
    return {**autogroup_values(autogroup), "rollout_by": autogroup.rollout_by}
