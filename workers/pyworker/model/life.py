"""Signs of life of a model server in the requests it serves; breaking what a dead one holds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Life:
    """What the answers of one model server say about it. Times are the event loop's.

    `sign_at`: when it last sent anything that was no error. `n_failed`: answers in a row that
    failed or broke off; a refusal of a client's mistake is neither.
    """

    def __init__(self) -> None:
        self.sign_at = 0.0
        self.n_failed = 0
        self.changed = asyncio.Event()
        self._open: dict[asyncio.Task[object], float] = {}
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
        """A part of an answer came."""
        self.sign_at = now

    def ended(self, now: float, *, is_well: bool) -> None:
        """An answer ended."""
        if is_well:
            self.sign_at = now
            self.n_failed = 0
            return
        self.n_failed += 1
        self.changed.set()

    def lost(self, now: float) -> None:
        """The model server refused or broke a connection."""
        self.ended(now, is_well=False)

    def forget(self) -> None:
        """A new start: failures before it say nothing."""
        self.n_failed = 0
        self.changed.clear()

    def break_all(self) -> int:
        """End every request that the model server holds, as an error of its own; how many."""
        for task in self._open:
            self._broken.add(task)
            task.cancel()
        return len(self._open)
