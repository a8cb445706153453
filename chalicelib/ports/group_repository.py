"""Endpoint groups and autogroups of the account."""

from collections.abc import Sequence
from typing import Protocol

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup


class GroupRepository(Protocol):
    """Reads are strongly consistent. Every method may raise StorageUnavailableError."""

    def next_id(self) -> int:
        """A fresh id for a group or autogroup; never given twice."""
        ...

    def list_groups(self) -> Sequence[EndpointGroup]:
        """All groups, by id."""
        ...

    def find_group(self, endpoint_id: int) -> EndpointGroup | None:
        """One group."""
        ...

    def add_group(self, group: EndpointGroup) -> None:
        """A new group.

        Raises:
            ConflictError: a group has this id or this name.
        """
        ...

    def put_group(self, group: EndpointGroup, *, expected_revision: int) -> None:
        """Replace a group.

        Raises:
            ConflictError: its revision is not the expected one.
        """
        ...

    def remove_group(self, endpoint_id: int) -> None:
        """Forget a group."""
        ...

    def list_autogroups(self, endpoint_id: int | None = None) -> Sequence[Autogroup]:
        """All autogroups, or those of one group, by id."""
        ...

    def find_autogroup(self, autogroup_id: int) -> Autogroup | None:
        """One autogroup."""
        ...

    def n_autogroups_added(self) -> int:
        """How many autogroups were ever added."""
        ...

    def add_autogroup(self, autogroup: Autogroup, *, n_before: int | None = None) -> None:
        """A new autogroup; with `n_before` only if as many were ever added before.

        Whoever reads `n_autogroups_added`, then the list, adds nothing beside what the list lacks.

        Raises:
            ConflictError: the id is taken, or others were added meanwhile.
        """
        ...

    def put_autogroup(self, autogroup: Autogroup, *, expected_revision: int) -> None:
        """Replace an autogroup.

        Raises:
            ConflictError: its revision is not the expected one.
        """
        ...

    def remove_autogroup(self, autogroup_id: int) -> None:
        """Forget an autogroup."""
        ...
