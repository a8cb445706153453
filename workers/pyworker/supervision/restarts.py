"""When a process that ended is started again, and when it is worth a report. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 60.0
WINDOW_S = 120.0
CRASH_LOOP = 3
"""Ends within the window from which on the owner should know."""


@dataclass(slots=True)
class RestartPolicy:
    """The recent ends of one process."""

    ended_at: list[float] = field(default_factory=list)

    def note_end(self, now: float) -> None:
        """The process ended."""
        self.ended_at = [at for at in self.ended_at if at > now - WINDOW_S] + [now]

    @property
    def pause_s(self) -> float:
        """Seconds until the next start: half a second, doubling with each recent end."""
        return min(FIRST_PAUSE_S * 2.0 ** max(len(self.ended_at) - 1, 0), MAX_PAUSE_S)

    @property
    def is_crash_loop(self) -> bool:
        """Whether it ends again and again."""
        return len(self.ended_at) >= CRASH_LOOP
