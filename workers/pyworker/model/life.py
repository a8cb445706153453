"""Signs of life of a model server in the requests it serves; breaking what a dead one holds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a model server is given, in seconds; what dies is noticed within thirty.

    Chosen: a health route that hangs costs three checks and a request of our own, 29 s in all.
    """

    ready_poll_s: float = 5.0
    doubt_poll_s: float = 0.5  # while something is wrong
    health_timeout_s: float = 5.0
    sign_of_life_s: float = 15.0
    """While the newest good answer, or part of one, is younger, no health route means death."""
    still_s: float = 18.0
    """Requests run and the engine's own counter of tokens stands: asked then, dead 8 s later. The
    counter is read every 2 s, and asking on a busy machine begins late: 30 s in all."""
    silent_s: float = 60.0
    """The same for servers that count nothing; a whole answer may rightly take as long."""
    forgotten_s: float = 60.0
    """The engine's counters say that it holds nothing: what was asked before was lost in it (seen
    of vLLM 0.32). Chosen: a server fetches what a request names before its engine knows of it."""
    request_silence_s: float = 1800.0
    """Of one request in an engine that serves others; OpenAI's clients wait for 600 s."""
    probe_timeout_s: float = 8.0
    slow_probe_timeout_s: float = 120.0
    metrics_poll_s: float = 2.0
    benchmark_retry_s: float = 10.0


DEFAULT_PATIENCE = Patience()
MAX_FAILED = 3
MAX_REFUSED = 10
"""Answers without a good one between them before they are a reason to doubt."""


class Life:
    """What the answers of one model server say about it. Times are the event loop's.

    `sign_at`: when it last sent anything that was no error. `n_failed`: answers that failed or
    broke off, `n_refused`: those that refused a client's mistake, since the last good one. A
    refusal is no failure, but a server that refuses everybody may be dead behind its own checks.
    """

    def __init__(self, patience: Patience = DEFAULT_PATIENCE) -> None:
        self.patience = patience
        self.sign_at = 0.0
        self.n_failed = 0
        self.n_refused = 0
        self.changed = asyncio.Event()
        self._open: dict[asyncio.Task[object], float] = {}  # when each was last heard of
        self._broken: set[asyncio.Task[object]] = set()

    @property
    def n_open(self) -> int:
        """Requests that it holds."""
        return len(self._open)

    def oldest_wait_s(self, now: float) -> float:
        """For how long the model server has sent nothing though it holds a request."""
        if not self._open:
            return 0.0
        return now - max(self.sign_at, min(self._open.values()))

    @contextmanager
    def call(self, now: float) -> Iterator[None]:
        """A request is at the model server.

        Raises:
            TimeoutError: `break_all` ended it.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only tasks call the model server")
        self._open[task] = now
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._broken:
                raise
            task.uncancel()
            raise TimeoutError("the model server is dead") from None
        finally:
            self._open.pop(task, None)
            self._broken.discard(task)

    def byte(self, now: float) -> None:
        """A part of an answer came, to the task that calls."""
        self.sign_at = now
        task = asyncio.current_task()
        if task in self._open:
            self._open[task] = now

    def ended(self, now: float, *, is_well: bool) -> None:
        """An answer ended."""
        if is_well:
            self.sign_at = now
            self.n_failed = self.n_refused = 0
            return
        self.n_failed += 1
        self.changed.set()

    def refused(self) -> None:
        """An answer that said no to its client."""
        self.n_refused += 1
        if self.n_refused >= MAX_REFUSED:
            self.changed.set()

    @property
    def is_doubtful(self) -> bool:
        """Whether a request of our own must tell if it still works."""
        return self.n_failed >= MAX_FAILED or self.n_refused >= MAX_REFUSED

    def lost(self, now: float) -> None:
        """The model server refused or broke a connection."""
        self.ended(now, is_well=False)

    def forget(self) -> None:
        """A new start: failures before it say nothing."""
        self.n_failed = self.n_refused = 0
        self.changed.clear()

    def break_all(self) -> int:
        """End every request that the model server holds, as an error of its own; how many."""
        return self.break_silent(math.inf)

    def silent_s(self, since: float, now: float) -> float:
        """For how long nothing was heard of the most silent of them, counted from `since` on."""
        return now - max(since, min(self._open.values())) if self._open else 0.0

    def break_silent(self, since: float) -> int:
        """The same for those of which nothing was heard since then."""
        silent = [task for task, heard_at in self._open.items() if heard_at < since]
        for task in silent:
            self._broken.add(task)
            task.cancel()
        return len(silent)
