"""Callers' keys: their rows hold nothing usable (the secret part is derived, ARCHITECTURE.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class CallerKey:
    """A key's row. A key without its row is none."""

    key_id: str
    name: str
    verbs: frozenset[str]  # "route", "read", "admin"
    endpoint_id: int | None  # None: the whole account
    generation: int
    created_at: float
    expires_at: float | None = None
    revoked_generations_below: int = 0  # generations below this one are refused
    max_requests_per_s: float | None = None
    max_concurrent: int | None = None
    max_load_per_s: float | None = None
    share: float = 1.0  # weight in fair admission
    revision: int = 0  # +1 at every change; guards concurrent ones

    @property
    def has_limits(self) -> bool:
        """Whether a quota binds it."""
        quotas = (self.max_requests_per_s, self.max_concurrent, self.max_load_per_s)
        return any(quota is not None for quota in quotas)


class KeyRepository(Protocol):
    """May raise StorageUnavailableError."""

    def find(self, key_id: str) -> CallerKey | None:
        """One key, strongly consistent."""
        ...

    def list(self) -> Sequence[CallerKey]:
        """All keys."""
        ...

    def put(self, key: CallerKey) -> None:
        """Add a key (revision 1), or replace the revision before.

        Raises:
            ConflictError: what is stored has another revision.
        """
        ...

    def remove(self, key_id: str) -> None:
        """Forget a key. Revoke it instead, unless it has expired."""
        ...
