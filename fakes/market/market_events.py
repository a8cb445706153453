"""What will happen to the pretend market's instances, in order of time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fakes.market.market_instance import MarketInstance

Happening = Callable[[MarketInstance, float], None]
_ANY_VERSION = -1  # of events that happen whatever else happened


class Event(NamedTuple):
    """Something that will happen, unless the instance's version changes; ordered by time."""

    at: float
    number: int  # unique, so that equal times keep their order
    instance: MarketInstance
    version: int
    happen: Happening


class EventQueue:
    """A heap of events; those that no longer hold are dropped when they come up."""

    def __init__(self) -> None:
        self._heap: list[Event] = []
        self._n_pushed = 0

    def push(
        self, at: float, instance: MarketInstance, happen: Happening, *, is_certain: bool = False
    ) -> None:
        """Plan an event; a certain one survives every change of the instance."""
        self._n_pushed += 1
        version = _ANY_VERSION if is_certain else instance.version
        heapq.heappush(self._heap, Event(at, self._n_pushed, instance, version, happen))

    def next_at(self) -> float | None:
        """When the first is due, or None."""
        return self._heap[0].at if self._heap else None

    def due(self, now: float) -> Iterator[Event]:
        """Those that are due and still hold, in order; new ones may be pushed meanwhile."""
        while self._heap and self._heap[0].at <= now:
            event = heapq.heappop(self._heap)
            is_current = event.version in (event.instance.version, _ANY_VERSION)
            if is_current and event.instance.gone_at is None:
                yield event
