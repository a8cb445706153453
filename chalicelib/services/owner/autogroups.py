"""Autogroups as their owner handles them: show, change, delete; all audited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from chalicelib.core.model.autogroup import Autogroup, AutogroupState, TicketGeneration
from chalicelib.core.model.endpoint_group import EndpointGroup, ParameterError
from chalicelib.core.model.scopes import ACCOUNT_SCOPE, autogroup_scope, endpoint_scope
from chalicelib.core.model.worker import Worker
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.services.keys import Caller, shown_key
from chalicelib.services.owner.audit import (
    Change,
    record_change,
)
from chalicelib.services.owner.exploration import exploration_row
from chalicelib.services.owner.facts import read_memory
from chalicelib.services.owner.groups import (
    USER_ID,
    check_unchanged,
    interruptible_mode,
    may_see,
    visible_group,
)
from chalicelib.services.routing.views import publish_directory
from chalicelib.wire.launch_args import parse_launch_args
from chalicelib.wire.management import AUTO, AutogroupChanges

OWNER_STATES = (AutogroupState.ACTIVE, AutogroupState.PAUSED)

_LAUNCHED = ("template_hash", "template_id", "launch_args")
_PLAIN = (*_LAUNCHED, "search_text", "search_query", "gpu_ram", "test_workers", "weight", "tier")


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


def update_autogroup(
    ports: ApiPorts, caller: Caller, autogroup_id: int, changes: AutogroupChanges
) -> Autogroup:
    """Change an autogroup; a change of what is launched makes its workers outdated.

    Raises:
        NotFoundError: no such autogroup within the key's scope.
        ParameterError: a bad parameter, or it is being deleted.
        ConflictError: somebody else changed it since it was read.
    """
    before = visible_autogroup(ports, caller, autogroup_id)
    check_unchanged(f"autogroup {autogroup_id}", changes.revision, before.revision)
    if before.state is AutogroupState.DELETING:
        raise ParameterError(f"autogroup {autogroup_id} is being deleted")
    _check_not_moved(ports, before, changes)
    if changes.has_cli_default_search and before.search_text:
        # The vendor's CLI sends its defaults when the flag is absent (protocol.md G 35).
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
    record_autogroup_change(ports, caller, now, verb, before, stored)
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
    if changes.interruptible is not None:
        is_auto = changes.interruptible == AUTO
        values["interruptible"] = None if is_auto else interruptible_mode(changes.interruptible)
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


def autogroup_rows(
    ports: ApiPorts, caller: Caller, found: Iterable[Autogroup]
) -> list[dict[str, object]]:
    """Autogroups within the key's scope as peers and our own command read them.

    Raises:
        NotFoundError: the group of one was deleted meanwhile.
    """
    memory = read_memory(ports)
    groups: dict[int, EndpointGroup] = {}
    workers: dict[int, Sequence[Worker]] = {}
    rows = []
    for autogroup in found:
        key = autogroup.endpoint_id
        if key not in groups:
            groups[key] = visible_group(ports, caller, key)
            workers[key] = ports.workers.list(key)
        exploration = exploration_row(autogroup, workers[key], memory)
        rows.append({**_row(ports, caller, autogroup, groups[key]), "exploration": exploration})
    return rows


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
        "interruptible": autogroup.interruptible.value if autogroup.interruptible else AUTO,
        "state": autogroup.state.value,
        **autogroup.legacy_params,
    }


def _row(
    ports: ApiPorts, caller: Caller, autogroup: Autogroup, group: EndpointGroup
) -> dict[str, object]:
    params = group.params
    return {
        "id": autogroup.autogroup_id,
        "endpoint_id": autogroup.endpoint_id,
        "endpoint_name": group.name,
        "api_key": shown_key(ports.secrets, caller, group.endpoint_id, group.key_generation),
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


def record_autogroup_change(
    ports: ApiPorts,
    caller: Caller,
    now: float,
    verb: str,
    before: Autogroup | None,
    after: Autogroup,
) -> None:
    """Note a change for the audit; `before` is None for a new autogroup."""
    change = Change(
        kind="changed_autogroup",
        scopes=(
            autogroup_scope(after.autogroup_id),
            endpoint_scope(after.endpoint_id),
            ACCOUNT_SCOPE,
        ),
        message=f"autogroup {after.autogroup_id} {verb}",
        before=_audited(before) if before else {},
        after=_audited(after),
    )
    record_change(ports.events, change, actor=caller.key_id, at=now)


def _audited(autogroup: Autogroup) -> Mapping[str, object]:
    return {**autogroup_values(autogroup), "rollout_by": autogroup.rollout_by}
