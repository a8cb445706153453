"""Events: decisions with reasons, state changes, what was done to what; and the audit trail."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One thing that happened. `kind` is constant text; `facts` are plain JSON values.

    `level`: info0 (what an owner wants to know), info1, trace, debug (the vendor's four).
    `scope`: "endpoint:ID", "autogroup:ID" or "account".
    """

    at: float
    scope: str
    level: str
    kind: str
    message: str
    facts: Mapping[str, object] = field(default_factory=dict)
    actor: str = ""  # key id for changes by people, "scaler" for the scaler's
    event_id: str = ""  # given by the log


class EventLog(Protocol):
    """Appends and reads events; they expire. May raise StorageUnavailableError."""

    def append(self, events: Sequence[Event]) -> None:
        """Add events."""
        ...

    def tail(
        self, scope: str, *, limit: int, since: float = 0.0, kinds: frozenset[str] | None = None
    ) -> Sequence[Event]:
        """The newest `limit` events of a scope, oldest first."""
        ...


class SeriesLog(Protocol):
    """All stats of a group's minute in one item; they expire. May raise StorageUnavailableError."""

    def put(self, scope: str, minute: int, values: Mapping[str, float]) -> None:
        """Set the values of a minute (minutes since the epoch)."""
        ...

    def read(
        self, scope: str, first_minute: int, last_minute: int
    ) -> Sequence[tuple[int, Mapping[str, float]]]:
        """The minutes that have values, oldest first."""
        ...
