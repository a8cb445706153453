"""The directory: one packed item from which a router learns all groups by name.

Management writes it after every change; routers cache it. It holds what routing and reports need
of groups and autogroups, so that neither reads the configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState, QueueOrder
from chalicelib.core.routing.admission import AdmissionParams
from chalicelib.core.routing.table import AutogroupFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupFacts:
    """What routing needs of an endpoint group."""

    endpoint_id: int
    name: str
    state: GroupState
    key_generation: int
    params: AdmissionParams
    autogroups: tuple[AutogroupFacts, ...]


@dataclass(frozen=True, slots=True)
class Directory:
    """All groups, by name and by id."""

    by_name: Mapping[str, GroupFacts]
    by_id: Mapping[int, GroupFacts]
    foreign: frozenset[object] = frozenset()  # names and ids of groups that we cannot read


class ForeignDirectoryError(ValueError):
    """Another version wrote the directory in a form that this one does not know."""


def group_facts(group: EndpointGroup, autogroups: Iterable[Autogroup]) -> GroupFacts:
    """What routing needs of a group and its autogroups."""
    return GroupFacts(
        endpoint_id=group.endpoint_id,
        name=group.name,
        state=group.state,
        key_generation=group.key_generation,
        params=AdmissionParams(
            target_queue_time=group.params.target_queue_time,
            max_queue_time=group.params.max_queue_time,
            queue_order=group.params.queue_order,
        ),
        autogroups=tuple(
            AutogroupFacts(
                autogroup_id=a.autogroup_id,
                weight=a.weight,
                tier=a.tier,
                is_active=a.state is AutogroupState.ACTIVE,
                generation=a.ticket_override.value if a.ticket_override else "",
            )
            for a in sorted(autogroups, key=lambda a: a.autogroup_id)
            if a.endpoint_id == group.endpoint_id
        ),
    )


def pack_directory(groups: Iterable[GroupFacts]) -> bytes:
    """The directory as stored."""
    document = {"version": 1, "groups": [facts_to_json(g) for g in groups]}
    return json.dumps(document, separators=(",", ":")).encode()


def unpack_directory(blob: bytes | None) -> Directory:
    """The directory from what was stored; empty if nothing was.

    A group that another version wrote in its own form hides none of the others.

    Raises:
        ForeignDirectoryError: nothing of it can be understood.
    """
    try:
        rows = json.loads(blob)["groups"] if blob else []
        groups, foreign = [], set()
        for row in rows:
            try:
                groups.append(facts_from_json(row))
            except (KeyError, TypeError, ValueError):
                foreign |= {row.get("name"), row.get("id")}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ForeignDirectoryError(f"unreadable directory: {error}") from error
    return Directory(
        {g.name: g for g in groups}, {g.endpoint_id: g for g in groups}, frozenset(foreign)
    )


def facts_to_json(group: GroupFacts) -> dict[str, object]:
    """A group's facts as plain JSON values."""
    return {
        "id": group.endpoint_id,
        "name": group.name,
        "state": group.state,
        "key_generation": group.key_generation,
        "target_queue_time": group.params.target_queue_time,
        "max_queue_time": group.params.max_queue_time,
        "queue_order": group.params.queue_order,
        "autogroups": [
            [a.autogroup_id, a.weight, a.tier, a.is_active, a.generation] for a in group.autogroups
        ],
    }


def facts_from_json(row: Mapping[str, Any]) -> GroupFacts:
    """The facts that `facts_to_json` wrote."""
    return GroupFacts(
        endpoint_id=row["id"],
        name=row["name"],
        state=GroupState(row["state"]),
        key_generation=row["key_generation"],
        params=AdmissionParams(
            target_queue_time=row["target_queue_time"],
            max_queue_time=row["max_queue_time"],
            queue_order=QueueOrder(row["queue_order"]),
        ),
        autogroups=tuple(
            AutogroupFacts(
                autogroup_id=autogroup_id,
                weight=weight,
                tier=tier,
                is_active=is_active,
                generation=generation,
            )
            for autogroup_id, weight, tier, is_active, generation, *_ in row["autogroups"]
        ),
    )
