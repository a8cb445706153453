"""Callers' keys: their rows hold nothing usable (the secret part is derived, ARCHITECTURE.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.core.model.endpoint_group import check_number
from chalicelib.core.routing.quota import KeyBuckets, Quota


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
    is_held: bool = False  # refused after a restore, until its owner confirms it
    former_hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256, in hex, of the proofs of the former kind that still count, by generation."""
    unknown: Mapping[str, object] = field(default_factory=dict, compare=False)  # another version's
    is_foreign: bool = False  # never stored: this version cannot read its row, and refuses it

    def __post_init__(self) -> None:
        """Check every limit, also of a row that was read: a share of 0 would be divided by.

        Raises:
            ParameterError: for the first limit out of bounds.
        """
        check_limits(self)

    @property
    def quota(self) -> Quota:
        """Its limits, as its buckets have them."""
        return Quota(
            max_requests_per_s=self.max_requests_per_s,
            max_load_per_s=self.max_load_per_s,
            max_concurrent=self.max_concurrent,
        )


class Limits(Protocol):
    """What limits a key; None = nothing does."""

    @property
    def share(self) -> float:
        """Its weight in fair admission."""
        ...


def check_limits(limits: Limits) -> None:
    """Check every bound of a key's.

    Raises:
        ParameterError: for the first limit out of bounds.
    """
    check_number("share", limits.share, 0, 1e6, low_open=True)
    for name in ("expires_at", "max_requests_per_s", "max_concurrent", "max_load_per_s"):
        value = getattr(limits, name)
        if value is not None:
            check_number(name, value, 0, 1e12, low_open=True)


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


class QuotaRepository(Protocol):
    """The buckets of keys with limits, shared by all routers. May raise StorageUnavailableError."""

    def put(self, buckets: KeyBuckets, *, kept_until: float) -> KeyBuckets | None:
        """Store buckets if the revision before theirs is what is stored (0: nothing is).

        None when that was done, else what is stored. After `kept_until` they may be forgotten.
        """
        ...
