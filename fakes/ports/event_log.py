"""Events and stats in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from chalicelib.ports.event_log import Event


class FakeEventLog:
    """EventLog with memory."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, events: Sequence[Event]) -> None:
        """Add events."""
        for event in events:
            event_id = f"{event.at:017.6f}#{len(self.events):012d}"
            self.events.append(replace(event, event_id=event_id))

    def tail(
        self, scope: str, *, limit: int, since: float = 0.0, kinds: frozenset[str] | None = None
    ) -> Sequence[Event]:
        """The newest `limit` events of a scope, oldest first."""
        found = [
            event
            for event in sorted(self.events, key=lambda event: event.event_id)
            if event.scope == scope and event.at >= since and (kinds is None or event.kind in kinds)
        ]
        return found[-limit:]


class FakeSeriesLog:
    """SeriesLog with memory."""

    def __init__(self) -> None:
        self.minutes: dict[str, dict[int, Mapping[str, float]]] = {}

    def put(self, scope: str, minute: int, values: Mapping[str, float]) -> None:
        """Replace the values of a minute."""
        self.minutes.setdefault(scope, {})[minute] = dict(values)

    def read(
        self, scope: str, first_minute: int, last_minute: int
    ) -> Sequence[tuple[int, Mapping[str, float]]]:
        """The minutes that have values, oldest first."""
        minutes = self.minutes.get(scope, {})
        return [(m, minutes[m]) for m in sorted(minutes) if first_minute <= m <= last_minute]
