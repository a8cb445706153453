"""The directory: one packed value from which a router learns all groups by name.

Management writes it after every change, and a round whatever was changed without it (management
cut off in between); routers cache it. It holds what routing and reports need
of groups and autogroups, so that neither reads the configuration. A group is built when it is asked
for, since ten thousand of them would keep a router busy for a tenth of a second at each reading.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from chalicelib.core.codec import from_plain
from chalicelib.core.model.autogroup import Autogroup, AutogroupState, TicketGeneration
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState
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


class ForeignDirectoryError(ValueError):
    """Another version wrote the directory, or one group of it, in a form not known here."""


@dataclass(frozen=True, slots=True)
class Directory:
    """All groups, by name and by id, each as it was stored until somebody asks for it."""

    by_name: Mapping[object, Mapping[str, Any]]
    by_id: Mapping[object, Mapping[str, Any]]
    _built: dict[int, GroupFacts] = field(default_factory=dict)

    def find(self, name: str | None = None, endpoint_id: int | None = None) -> GroupFacts | None:
        """The group of this name, and of this id if both are given; None if there is none.

        Raises:
            ForeignDirectoryError: there is one, and another version wrote it in its own form.
        """
        row = self.by_id.get(endpoint_id) if name is None else self.by_name.get(name)
        if row is None:
            return None
        built = self._built.get(id(row))
        if built is None:
            try:
                built = facts_from_json(row)
            except (KeyError, TypeError, ValueError) as error:
                raise ForeignDirectoryError("another version wrote this group") from error
            self._built[id(row)] = built
        return built if endpoint_id in (None, built.endpoint_id) else None


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


PLAIN_BYTES = 4_096  # a read of DynamoDB gives as much for the same price


def pack_directory(groups: Iterable[GroupFacts]) -> bytes:
    """The directory as stored: JSON, compressed when it is long (10,000 groups of two: 250 kB).

    A short one is as versions before the compression wrote and read it, so that a deployment can be
    taken back to one of them.
    """
    document = {"version": 1, "groups": [facts_to_json(g) for g in groups]}
    text = json.dumps(document, separators=(",", ":")).encode()
    return text if len(text) <= PLAIN_BYTES else zlib.compress(text)


@lru_cache(maxsize=2)  # read at each rebuild of a view, and changed by the owner alone
def unpack_directory(blob: bytes | None) -> Directory:
    """The directory from what was stored; empty if nothing was.

    Raises:
        ForeignDirectoryError: nothing of it can be understood.
    """
    try:
        text = blob if not blob or blob.startswith(b"{") else zlib.decompress(blob)
        rows = json.loads(text)["groups"] if text else []
        by_id = {row.get("id"): row for row in rows}
        return Directory({row.get("name"): row for row in rows}, by_id)
    except (zlib.error, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ForeignDirectoryError(f"unreadable directory: {error}") from error


def is_readable(blob: bytes | None) -> bool:
    """Whether this version can read every group of a stored directory."""
    try:
        directory = unpack_directory(blob)
        for row in directory.by_id.values():
            facts_from_json(row)
    except (KeyError, TypeError, ValueError):  # a foreign one is a ValueError
        return False
    return True


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
    """The facts that `facts_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: another version's form.
    """
    params = {one.name: row[one.name] for one in fields(AdmissionParams)}
    names = tuple(one.name for one in fields(AutogroupFacts))
    autogroups = [
        dict(zip(names, one[: len(names)], strict=True))  # a later version may add to them
        for one in row["autogroups"]
    ]
    plain = {"endpoint_id": row["id"], "params": params, "autogroups": autogroups}
    facts = from_plain(GroupFacts, {**row, **plain})
    for autogroup in facts.autogroups:
        if autogroup.generation:
            TicketGeneration(autogroup.generation)
    return facts
