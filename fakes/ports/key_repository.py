"""Callers' keys in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chalicelib.ports.errors import ConflictError, PortError
from chalicelib.ports.keys import CallerKey


class FakeKeyRepository:
    """Implements `ports.key_repository.KeyRepository`.

    `calls` counts calls by method; `failure`, if set, is raised by every method.
    """

    def __init__(self) -> None:
        self.rows: dict[str, CallerKey] = {}
        self.calls: Counter[str] = Counter()
        self.failure: PortError | None = None

    def find(self, key_id: str) -> CallerKey | None:
        """One key."""
        self._called("find")
        return self.rows.get(key_id)

    def list(self) -> Sequence[CallerKey]:
        """All keys."""
        self._called("list")
        return list(self.rows.values())

    def put(self, key: CallerKey) -> None:
        """Add a key, or replace the revision before."""
        self._called("put")
        known = self.rows.get(key.key_id)
        if (known.revision if known else 0) != key.revision - 1:
            raise ConflictError("another revision")
        self.rows[key.key_id] = key

    def remove(self, key_id: str) -> None:
        """Forget a key."""
        self._called("remove")
        self.rows.pop(key_id, None)

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.failure is not None:
            raise self.failure
