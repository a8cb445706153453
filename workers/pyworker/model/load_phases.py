"""How long each part of a start took: told, so that the owner sees what a cold start is. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PhaseMark:
    """A line of the log with this pattern in it begins this phase of the start.

    With `is_end` it ends it: what went on until then was this phase, and the one before goes on.
    """

    pattern: str
    phase: str
    is_end: bool = False

    def is_in(self, line: str) -> bool:
        """Whether the line says so."""
        return re.search(self.pattern, line) is not None


@dataclass(slots=True)
class LoadPhases:
    """The phases of one start, in order, with their seconds; the last one still runs."""

    started_at: float
    first: str = "starting"
    _order: list[tuple[str, float]] = field(default_factory=list)
    _ended_at: float | None = None

    def begin(self, phase: str, now: float) -> None:
        """A phase begins; a phase that was there before goes on where it was."""
        if self._ended_at is None and self._current != phase:
            self._order.append((phase, now))

    def see(self, line: str, marks: Sequence[PhaseMark], now: float) -> None:
        """A line of the log, which may begin a phase."""
        for mark in marks:
            if mark.is_in(line):
                if mark.is_end:
                    self._end(mark.phase, now)
                else:
                    self.begin(mark.phase, now)
                return

    def _end(self, phase: str, now: float) -> None:
        """What went on since the last mark was this phase."""
        if self._ended_at is not None or not self._order:
            return
        before, since = self._order[-1]
        self._order[-1:] = [(phase, since), (before, now)]

    def end(self, now: float) -> None:
        """The worker is ready; what comes later is no part of the start."""
        if self._ended_at is None:
            self._ended_at = now

    @property
    def _current(self) -> str:
        return self._order[-1][0] if self._order else self.first

    def durations_s(self, now: float) -> dict[str, float]:
        """Seconds by phase."""
        marks = [(self.first, self.started_at), *self._order]
        ends = [at for _, at in marks[1:]] + [now if self._ended_at is None else self._ended_at]
        durations: dict[str, float] = {}
        for (phase, at), until in zip(marks, ends, strict=True):
            durations[phase] = durations.get(phase, 0.0) + max(until - at, 0.0)
        return {phase: round(seconds, 3) for phase, seconds in durations.items()}
