"""Endpoint groups as their owner handles them: create, show, change, delete; all audited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace

from chalicelib.core.model.endpoint_group import (
    EndpointGroup,
    FloorSchedule,
    GroupState,
    Interruptible,
    ParameterError,
    QueueOrder,
    ScalingParams,
)
from chalicelib.core.model.schedules import check_schedule
from chalicelib.core.model.scopes import ACCOUNT_SCOPE, endpoint_scope
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import ConflictError, NotFoundError
from chalicelib.services.keys import Caller, shown_key
from chalicelib.services.owner.audit import Change, record_change
from chalicelib.services.routing.views import publish_directory
from chalicelib.wire.management import AUTO, EndpointChanges, WrittenSchedule

IDEMPOTENCY_S = 60.0
"""Peers repeat creates after time-outs (protocol.md E.4); an identical one so soon is the same."""

OWNER_STATES = (GroupState.ACTIVE, GroupState.SUSPENDED, GroupState.STOPPED)
USER_ID = 1  # one account per deployment; the vendor's SDK insists on the field

_DEFAULTS = ScalingParams()
_NULLABLE = frozenset(f.name for f in fields(ScalingParams) if getattr(_DEFAULTS, f.name) is None)


def may_see(caller: Caller, endpoint_id: int) -> bool:
    """Whether a group is within a key's scope."""
    return caller.endpoint_id is None or caller.endpoint_id == endpoint_id


def list_groups(ports: ApiPorts, caller: Caller) -> Sequence[EndpointGroup]:
    """The groups within the key's scope."""
    return [g for g in ports.groups.list_groups() if may_see(caller, g.endpoint_id)]


def visible_group(ports: ApiPorts, caller: Caller, endpoint_id: int) -> EndpointGroup:
    """One group within the key's scope.

    Raises:
        NotFoundError: unknown, or outside the scope; both look the same.
    """
    group = ports.groups.find_group(endpoint_id) if may_see(caller, endpoint_id) else None
    if group is None:
        raise NotFoundError("Endpoint job ID not found")
    return group


def group_by_name(ports: ApiPorts, caller: Caller, name: str) -> EndpointGroup | None:
    """The group of this name within the key's scope."""
    return next((g for g in list_groups(ports, caller) if g.name == name), None)


def create_group(
    ports: ApiPorts, caller: Caller, changes: EndpointChanges, now: float
) -> EndpointGroup:
    """Create a group, or give the identical one that was created within the last minute.

    Raises:
        ParameterError: a bad parameter, or the name is taken.
    """
    if changes.name is None:
        raise ParameterError("endpoint_name: missing; every endpoint group needs a name")
    wanted = changed_group(EndpointGroup(endpoint_id=0, name=changes.name, created_at=now), changes)
    existing = _same_name(ports, wanted, now)
    if existing is None:
        existing = _add(ports, caller, wanted, now)
    publish_directory(ports)
    return existing


def update_group(
    ports: ApiPorts, caller: Caller, endpoint_id: int, changes: EndpointChanges
) -> EndpointGroup:
    """Change a group.

    Raises:
        NotFoundError: no such group within the key's scope.
        ParameterError: a bad parameter, or the group is being deleted.
        ConflictError: somebody else changed it since it was read, or the new name is taken.
    """
    now = ports.clock.now()
    before = visible_group(ports, caller, endpoint_id)
    check_unchanged(f"endpoint group {before.name!r}", changes.revision, before.revision)
    if before.state is GroupState.DELETING:
        raise ParameterError(f"endpoint group {before.name!r} is being deleted")
    after = replace(changed_group(before, changes), revision=before.revision + 1)
    ports.groups.put_group(after, expected_revision=before.revision)
    _record(ports, caller, now, "changed", before, after)
    publish_directory(ports)
    ports.poke.poke(endpoint_id, "changed")
    return after


def check_unchanged(what: str, seen: int | None, present: int) -> None:
    """Check that what is to be changed is still what was read, where the change says what that was.

    Raises:
        ConflictError: it has another revision.
    """
    if seen not in (None, present):
        raise ConflictError(
            f"{what} was changed since it was read (revision {seen}, now {present}); read it again"
        )


def delete_group(ports: ApiPorts, caller: Caller, endpoint_id: int) -> None:
    """Begin to delete a group: the scaler drains and destroys its workers, then forgets it.

    Raises:
        NotFoundError: no such group within the key's scope.
        ConflictError: somebody else changed it meanwhile.
    """
    now = ports.clock.now()
    before = visible_group(ports, caller, endpoint_id)
    if before.state is not GroupState.DELETING:
        after = replace(before, state=GroupState.DELETING, revision=before.revision + 1)
        ports.groups.put_group(after, expected_revision=before.revision)
        _record(ports, caller, now, "deleted", before, after)
    publish_directory(ports)
    ports.poke.poke(endpoint_id, "deleted")


def freeze_group(ports: ApiPorts, caller: Caller, endpoint_id: int, *, frozen: bool) -> None:
    """Stop or resume renting, starting, stopping and destroying for a group; routing goes on."""
    update_group(ports, caller, endpoint_id, EndpointChanges(frozen=frozen))


def endpoint_row(ports: ApiPorts, caller: Caller, group: EndpointGroup) -> dict[str, object]:
    """A group as peers and our own command read it.

    `api_key` routes: it is empty for a key that may not route itself.
    """
    return {
        "id": group.endpoint_id,
        "endpoint_name": group.name,
        "api_key": shown_key(ports.secrets, caller, group.endpoint_id, group.key_generation),
        "user_id": USER_ID,
        "created_at": group.created_at,
        **group_values(group),
        "auto": sorted(n for n in _NULLABLE if getattr(group.params, n) is None),
        "given": sorted(group.given),
        "revision": group.revision,
    }


def group_values(group: EndpointGroup) -> dict[str, object]:
    """What an owner may change, as plain values; None = auto."""
    return {
        **asdict(group.params),
        "queue_order": group.params.queue_order.value,
        "interruptible": group.params.interruptible.value,
        "endpoint_state": group.state.value,
        "frozen": group.frozen,
        "shadow": group.shadow,
        "schedules": [asdict(schedule) for schedule in group.schedules],
    }


def changed_group(group: EndpointGroup, changes: EndpointChanges) -> EndpointGroup:
    """The group with the changes applied; nothing is stored.

    Raises:
        ParameterError: for the first value out of bounds.
    """
    given = (set(group.given) | changes.params.keys()) - changes.unset
    return replace(
        group,
        name=group.name if changes.name is None else changes.name,
        state=group.state if changes.state is None else _state(changes.state),
        params=_changed_params(group.params, changes),
        given=tuple(sorted(given)),
        frozen=group.frozen if changes.frozen is None else changes.frozen,
        shadow=group.shadow if changes.shadow is None else changes.shadow,
        key_generation=group.key_generation + bool(changes.rotate_key),
        schedules=group.schedules if changes.schedules is None else _schedules(changes.schedules),
    )


def _changed_params(params: ScalingParams, changes: EndpointChanges) -> ScalingParams:
    values: dict[str, object] = {**changes.params}
    for name in changes.unset:
        values[name] = getattr(_DEFAULTS, name)
    if "queue_order" in changes.params:
        values["queue_order"] = _queue_order(str(changes.params["queue_order"]))
    if "interruptible" in changes.params:
        values["interruptible"] = interruptible_mode(str(changes.params["interruptible"]))
    # A bound given alone moves the other one that nobody asked for, rather than being refused.
    if "max_queue_time" in values and "target_queue_time" not in values:
        limit = values["max_queue_time"]
        if isinstance(limit, int | float) and 0 < limit < params.target_queue_time:
            values["target_queue_time"] = limit
    return replace(params, **values)  # type: ignore[arg-type]  # __post_init__ checks each value


def _queue_order(text: str) -> QueueOrder:
    if text not in [order.value for order in QueueOrder]:
        raise ParameterError(f"queue_order: {text[:40]!r}; allowed: on_time_first, fifo")
    return QueueOrder(text)


def interruptible_mode(text: str) -> Interruptible:
    """The mode of this name.

    Raises:
        ParameterError: there is none.
    """
    if text not in [mode.value for mode in Interruptible]:
        raise ParameterError(f"interruptible: {text[:40]!r}; allowed: {', '.join(Interruptible)}")
    return Interruptible(text)


def _state(text: str) -> GroupState:
    if text not in [state.value for state in OWNER_STATES]:
        allowed = ", ".join(OWNER_STATES)
        raise ParameterError(f"endpoint_state: {text[:40]!r}; allowed: {allowed}")
    return GroupState(text)


def _schedules(rows: Sequence[WrittenSchedule]) -> tuple[FloorSchedule, ...]:
    schedules = tuple(
        FloorSchedule(cron=cron, duration_s=duration_s, min_load=min_load, timezone=timezone)
        for cron, duration_s, min_load, timezone in rows
    )
    for schedule in schedules:
        check_schedule(schedule)
    return schedules


def _same_name(ports: ApiPorts, wanted: EndpointGroup, now: float) -> EndpointGroup | None:
    """The group that an identical create made a moment ago; None if the name is free.

    Raises:
        ParameterError: the name is taken by another group.
    """
    existing = next((g for g in ports.groups.list_groups() if g.name == wanted.name), None)
    if existing is None:
        return None
    if existing.state is GroupState.DELETING:
        raise ParameterError(
            f"endpoint_name: {wanted.name!r} is being deleted; create it again once that is done"
        )
    is_same = group_values(existing) == group_values(wanted) and existing.given == wanted.given
    if is_same and now - existing.created_at <= IDEMPOTENCY_S:
        return existing
    raise ParameterError(
        f"endpoint_name: {wanted.name!r} exists already (id {existing.endpoint_id}); update that "
        "one, or choose another name"
    )


def _add(ports: ApiPorts, caller: Caller, wanted: EndpointGroup, now: float) -> EndpointGroup:
    group = replace(wanted, endpoint_id=ports.groups.next_id())
    try:
        ports.groups.add_group(group)
    except ConflictError:  # a create of the same name ran at the same time
        existing = _same_name(ports, wanted, now)
        if existing is None:
            raise
        return existing
    _record(ports, caller, now, "created", None, group)
    return group


def _record(
    ports: ApiPorts,
    caller: Caller,
    now: float,
    verb: str,
    before: EndpointGroup | None,
    after: EndpointGroup,
) -> None:
    change = Change(
        kind="changed_endpoint",
        scopes=(endpoint_scope(after.endpoint_id), ACCOUNT_SCOPE),
        message=f"endpoint group {after.name} {verb}",
        before=_audited(before) if before else {},
        after=_audited(after),
    )
    record_change(ports.events, change, actor=caller.key_id, at=now)


def _audited(group: EndpointGroup) -> Mapping[str, object]:
    identity = {"endpoint_name": group.name, "key_generation": group.key_generation}
    values = {**group_values(group), **identity}
    return {name: AUTO if value is None else value for name, value in values.items()}
