"""Endpoint groups and autogroups in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.ports.errors import ConflictError


class FakeGroupRepository:
    """GroupRepository with memory.

    `problem` is raised by every method while it is set; `change_before_put` runs once, before the
    next put of a group or added autogroup, to play a second writer.
    """

    def __init__(self) -> None:
        self.groups: dict[int, EndpointGroup] = {}
        self.autogroups: dict[int, Autogroup] = {}
        self.last_id = 99
        self.n_added = 0
        self.problem: Exception | None = None
        self.change_before_put: Callable[[], None] | None = None

    def bump(self, endpoint_id: int) -> None:
        """Change a group's revision, as another writer would."""
        group = self.groups[endpoint_id]
        self.groups[endpoint_id] = replace(group, revision=group.revision + 1)

    def next_id(self) -> int:
        """A fresh id."""
        self._check()
        self.last_id += 1
        return self.last_id

    def list_groups(self) -> Sequence[EndpointGroup]:
        """All groups, by id."""
        self._check()
        return [self.groups[i] for i in sorted(self.groups)]

    def find_group(self, endpoint_id: int) -> EndpointGroup | None:
        """One group."""
        self._check()
        return self.groups.get(endpoint_id)

    def add_group(self, group: EndpointGroup) -> None:
        """A new group; ConflictError if its id or name is taken."""
        self._check()
        if group.endpoint_id in self.groups:
            raise ConflictError(f"id {group.endpoint_id} is taken")
        self._check_name(group)
        self.groups[group.endpoint_id] = group

    def put_group(self, group: EndpointGroup, *, expected_revision: int) -> None:
        """Replace a group; ConflictError if it changed meanwhile or its new name is taken."""
        self._check()
        self._let_others_write()
        before = self.groups.get(group.endpoint_id)
        if before is None or before.revision != expected_revision:
            raise ConflictError(f"{group.name!r} was changed meanwhile")
        self._check_name(group)
        self.groups[group.endpoint_id] = group

    def remove_group(self, endpoint_id: int) -> None:
        """Forget a group."""
        self._check()
        self.groups.pop(endpoint_id, None)

    def list_autogroups(self, endpoint_id: int | None = None) -> Sequence[Autogroup]:
        """All autogroups, or those of one group, by id."""
        self._check()
        ordered = [self.autogroups[i] for i in sorted(self.autogroups)]
        return [a for a in ordered if endpoint_id is None or a.endpoint_id == endpoint_id]

    def find_autogroup(self, autogroup_id: int) -> Autogroup | None:
        """One autogroup."""
        self._check()
        return self.autogroups.get(autogroup_id)

    def n_autogroups_added(self) -> int:
        """How many autogroups were ever added."""
        self._check()
        return self.n_added

    def add_autogroup(self, autogroup: Autogroup, *, n_before: int | None = None) -> None:
        """A new autogroup; ConflictError if its id is taken or others were added meanwhile."""
        self._check()
        self._let_others_write()
        if autogroup.autogroup_id in self.autogroups or n_before not in (None, self.n_added):
            raise ConflictError(f"id {autogroup.autogroup_id} is taken, or others were added")
        self.n_added += 1
        self.autogroups[autogroup.autogroup_id] = autogroup

    def put_autogroup(self, autogroup: Autogroup, *, expected_revision: int) -> None:
        """Replace an autogroup; ConflictError if it changed meanwhile."""
        self._check()
        before = self.autogroups.get(autogroup.autogroup_id)
        if before is None or before.revision != expected_revision:
            raise ConflictError(f"autogroup {autogroup.autogroup_id} was changed meanwhile")
        self.autogroups[autogroup.autogroup_id] = autogroup

    def remove_autogroup(self, autogroup_id: int) -> None:
        """Forget an autogroup."""
        self._check()
        self.autogroups.pop(autogroup_id, None)

    def _check(self) -> None:
        if self.problem is not None:
            raise self.problem

    def _let_others_write(self) -> None:
        if self.change_before_put is not None:
            change, self.change_before_put = self.change_before_put, None
            change()

    def _check_name(self, group: EndpointGroup) -> None:
        if any(
            other.name == group.name and other.endpoint_id != group.endpoint_id
            for other in self.groups.values()
        ):
            raise ConflictError(f"a group has the name {group.name!r}")
