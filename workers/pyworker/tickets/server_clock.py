"""The control plane's time, as far as this worker knows it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from workers.pyworker.tickets.admission import SYNCED_CLOCK_LEEWAY_S, UNSURE_CLOCK_LEEWAY_S

logger = logging.getLogger(__name__)

MAX_ROUND_TRIP_S = 5.0
"""A slower reply says too little about the time it was written."""


_BEGAN_AT = time.time() - time.monotonic()


def steady_now() -> float:
    """Epoch seconds as this machine took them to be when we began; later jumps do not matter."""
    return _BEGAN_AT + time.monotonic()


class ServerClock:
    """The local clock plus the offset learned from replies to reports."""

    def __init__(self, local_now: Callable[[], float] = steady_now) -> None:
        self.local_now = local_now
        self._offset_s: float | None = None

    def now(self) -> float:
        """The server's epoch seconds, best estimate."""
        return self.local_now() + (self._offset_s or 0.0)

    @property
    def leeway_s(self) -> float:
        """How far `now` may be off."""
        return UNSURE_CLOCK_LEEWAY_S if self._offset_s is None else SYNCED_CLOCK_LEEWAY_S

    def correct(self, server_now: float, sent_at: float, received_at: float) -> None:
        """Learn from a reply that says `server_now`; local times of asking and hearing."""
        if not 0 <= received_at - sent_at <= MAX_ROUND_TRIP_S:
            return
        offset_s = server_now - (sent_at + received_at) / 2
        if abs(offset_s - (self._offset_s or 0.0)) > SYNCED_CLOCK_LEEWAY_S:
            logger.warning("the clock is wrong, corrected", extra={"offset_s": round(offset_s, 1)})
        self._offset_s = offset_s
