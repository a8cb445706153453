"""When a process that ended is started again, and when it is worth a report. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

FIRST_PAUSE_S = 0.5
MAX_PAUSE_S = 60.0
WINDOW_S = 120.0
CRASH_LOOP = 3
"""Ends within the window, or in a row without having been ready, from which on the owner knows."""


@dataclass(slots=True)
class RestartPolicy:
    """The recent ends of one process.

    With `must_be_ready` ends are also counted that came before it was ready, however long it took:
    a large model fails after minutes.
    """

    must_be_ready: bool = False
    ended_at: list[float] = field(default_factory=list)
    n_unready: int = 0
    _was_ready: bool = False

    def note_ready(self) -> None:
        """It serves."""
        self._was_ready = True

    def note_end(self, now: float) -> None:
        """The process ended."""
        self.ended_at = [at for at in self.ended_at if at > now - WINDOW_S] + [now]
        self.n_unready = 0 if self._was_ready or not self.must_be_ready else self.n_unready + 1
        self._was_ready = False

    @property
    def pause_s(self) -> float:
        """Seconds until the next start: half a second, doubling with each recent end."""
        n_ends = max(len(self.ended_at), self.n_unready)
        return min(FIRST_PAUSE_S * 2.0 ** max(min(n_ends, 20) - 1, 0), MAX_PAUSE_S)

    @property
    def is_crash_loop(self) -> bool:
        """Whether it ends again and again."""
        return len(self.ended_at) >= CRASH_LOOP or self.n_unready >= CRASH_LOOP

    @property
    def words(self) -> str:
        """How often it ended."""
        if self.n_unready >= CRASH_LOOP:
            return f"ended {self.n_unready} times without having been ready"
        return f"ended {len(self.ended_at)} times in 2 minutes"
