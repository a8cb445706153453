"""Callers' keys as their owner handles them: create, show, rotate, revoke; with an audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from chalicelib.core.model.endpoint_group import ParameterError
from chalicelib.core.model.scopes import ACCOUNT_SCOPE, endpoint_scope
from chalicelib.ports.bundles import ApiPorts
from chalicelib.ports.errors import NotFoundError
from chalicelib.ports.event_log import Event
from chalicelib.ports.keys import CallerKey
from chalicelib.services.keys import (
    Caller,
    KeyLimits,
    issue_key,
    limit_key,
    list_keys,
)
from chalicelib.services.keys import confirm_key as confirm
from chalicelib.services.keys import revoke_key as revoke
from chalicelib.services.keys import rotate_key as rotate
from chalicelib.services.owner.audit import Change, record_change
from chalicelib.services.owner.groups import group_by_name, visible_group
from chalicelib.wire.keys import KeyRequest, LimitChanges

Row = dict[str, object]
MAX_TRAIL = 1_000_000
_LIMIT_FIELDS = tuple(field.name for field in fields(KeyLimits))


def key_rows(ports: ApiPorts) -> list[Row]:
    """All keys, oldest first."""
    names = {group.endpoint_id: group.name for group in ports.groups.list_groups()}
    return [_row(key, names) for key in list_keys(ports)]


def key_row(ports: ApiPorts, key_id: str) -> Row:
    """One key.

    Raises:
        NotFoundError: no such key.
    """
    row = next((row for row in key_rows(ports) if row["key_id"] == key_id), None)
    if row is None:
        raise NotFoundError(f"no key {key_id[:80]!r}")
    return row


def create_key(ports: ApiPorts, caller: Caller, request: KeyRequest) -> tuple[str, Row]:
    """A new key: its text, shown once, and its row.

    Raises:
        ParameterError: unknown verbs, an unusable quota, or an unknown endpoint name.
        NotFoundError: no such endpoint id.
    """
    now = ports.clock.now()
    endpoint_id = _endpoint_id(ports, caller, request)
    expires_at = None if request.expires_in_s is None else now + request.expires_in_s
    limits = KeyLimits(
        expires_at=expires_at,
        max_requests_per_s=request.max_requests_per_s,
        max_concurrent=request.max_concurrent,
        max_load_per_s=request.max_load_per_s,
        share=request.share,
    )
    text, key = issue_key(
        ports, name=request.name, verbs=request.verbs, endpoint_id=endpoint_id, limits=limits
    )
    row = key_row(ports, key.key_id)
    _record(ports, caller, f"key {key.name} created", {}, row)
    return text, row


def rotate_key(ports: ApiPorts, caller: Caller, key_id: str) -> tuple[str, Row]:
    """A new generation: its text, shown once; the older ones stay valid until they are revoked.

    Raises:
        NotFoundError: no such key.
    """
    before = key_row(ports, key_id)
    text, _ = rotate(ports, key_id)
    row = key_row(ports, key_id)
    _record(ports, caller, f"key {row['name']} rotated", before, row)
    return text, row


def change_limits(ports: ApiPorts, caller: Caller, key_id: str, changes: LimitChanges) -> Row:
    """Set and remove limits of a key; the others stay.

    Raises:
        NotFoundError: no such key.
        ParameterError: an unusable limit.
    """
    now = ports.clock.now()
    before = key_row(ports, key_id)
    values = {name: before[name] for name in _LIMIT_FIELDS}
    for name in changes.unset:
        values[_field_of(name)] = getattr(KeyLimits(), _field_of(name))
    for name, value in changes.given.items():
        values[_field_of(name)] = now + value if name == "expires_in_s" else value
    limit_key(ports, key_id, KeyLimits(**values))  # type: ignore[arg-type]  # checked by itself
    row = key_row(ports, key_id)
    _record(ports, caller, f"key {row['name']} has other limits", before, row)
    return row


def revoke_key(ports: ApiPorts, caller: Caller, key_id: str, *, older_only: bool = False) -> Row:
    """Refuse all generations of a key, or all but the newest.

    Raises:
        NotFoundError: no such key.
    """
    before = key_row(ports, key_id)
    revoke(ports, key_id, older_only=older_only)
    row = key_row(ports, key_id)
    _record(ports, caller, f"key {row['name']} revoked", before, row)
    return row


def confirm_key(ports: ApiPorts, caller: Caller, key_id: str) -> Row:
    """Let a key that is held since a restore be used again, as its row has it.

    Raises:
        NotFoundError: no such key.
    """
    before = key_row(ports, key_id)
    confirm(ports, key_id)
    row = key_row(ports, key_id)
    _record(ports, caller, f"key {row['name']} confirmed", before, row)
    return row


def record_deployers_key(ports: ApiPorts, key: CallerKey) -> None:
    """Into the audit trail: a key that is made without a caller, by who deploys."""
    deployer = Caller(key_id="deploy", verbs=frozenset(), endpoint_id=None, generation=0)
    _record(ports, deployer, f"key {key.name} created", {}, _row(key, {}))


def unattested_keys(ports: ApiPorts) -> list[CallerKey]:
    """Keys whose row is not what the audit trail says of their last change.

    After a restore of the keys' table: what was changed since lives again as it was before. Where
    the trail is lost as well, nothing is attested.
    """
    trail = ports.events.tail(ACCOUNT_SCOPE, limit=MAX_TRAIL, kinds=frozenset({"changed_key"}))
    changes = sorted(trail, key=lambda event: (event.at, _revision(event)))
    last = {event.facts.get("key_id"): _revision(event) for event in changes}
    return [key for key in list_keys(ports) if key.is_held or last.get(key.key_id) != key.revision]


def _revision(event: Event) -> int:
    revision = event.facts.get("revision")
    return revision if isinstance(revision, int) else -1  # older ones did not say


def _field_of(limit: str) -> str:
    return "expires_at" if limit == "expires_in_s" else limit


def _endpoint_id(ports: ApiPorts, caller: Caller, request: KeyRequest) -> int | None:
    if request.endpoint_id is not None:
        return visible_group(ports, caller, request.endpoint_id).endpoint_id
    if request.endpoint_name is None:
        return None
    group = group_by_name(ports, caller, request.endpoint_name)
    if group is None:
        raise ParameterError(f"endpoint_name: no endpoint group {request.endpoint_name[:80]!r}")
    return group.endpoint_id


def _row(key: CallerKey, names: Mapping[int, str]) -> Row:
    return {
        "key_id": key.key_id,
        "name": key.name,
        "verbs": sorted(key.verbs),
        "endpoint_id": key.endpoint_id,
        "endpoint_name": None if key.endpoint_id is None else names.get(key.endpoint_id),
        "generation": key.generation,
        "oldest_valid_generation": max(1, key.revoked_generations_below),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "is_revoked": key.revoked_generations_below > key.generation,
        "max_requests_per_s": key.max_requests_per_s,
        "max_concurrent": key.max_concurrent,
        "max_load_per_s": key.max_load_per_s,
        "share": key.share,
        "is_held": key.is_held,
        "revision": key.revision,
    }


def _record(ports: ApiPorts, caller: Caller, message: str, before: Row, after: Row) -> None:
    endpoint_id = after["endpoint_id"]
    scopes = (endpoint_scope(endpoint_id),) if isinstance(endpoint_id, int) else ()
    change = Change(
        kind="changed_key",
        scopes=(ACCOUNT_SCOPE, *scopes),
        message=message,
        before={name: value for name, value in before.items() if name != "revision"},
        after={name: value for name, value in after.items() if name != "revision"},
        facts={"key_id": after["key_id"], "revision": after["revision"]},
    )
    record_change(ports.events, change, actor=caller.key_id, at=ports.clock.now())
