"""Keeps the control plane informed without ever holding up a request.

At once when readiness or the error changes, at most once a second while requests come and go, and
every 10 s otherwise. While the control plane is away the pause doubles up to 30 s; nothing is lost,
because counters are cumulative and finished requests wait until they are acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace

from workers.pyworker.readiness import Readiness
from workers.pyworker.reporting.cache_window import CacheWindow
from workers.pyworker.reporting.control_plane import ControlPlane, ControlPlaneError
from workers.pyworker.reporting.load_ledger import LoadLedger
from workers.pyworker.reporting.messages import (
    DiskUsage,
    Reporter,
    finished_requests,
    status_report,
)
from workers.pyworker.tickets.server_clock import ServerClock

logger = logging.getLogger(__name__)

BUSY_INTERVAL_S = 1.0
IDLE_INTERVAL_S = 10.0
MAX_BACK_OFF_S = 30.0
BATCH_SIZE = 500


@dataclass(slots=True)
class Pace:
    """When the next report is due. Times of one monotonic clock."""

    sent_at: float = float("-inf")
    n_failures: int = 0
    is_urgent: bool = True
    has_news: bool = False

    def due_at(self) -> float:
        """The earliest time for the next report."""
        if self.n_failures:
            return self.sent_at + min(2.0 ** (self.n_failures - 1), MAX_BACK_OFF_S)
        if self.is_urgent:
            return self.sent_at
        return self.sent_at + (BUSY_INTERVAL_S if self.has_news else IDLE_INTERVAL_S)


class ReportLoop:
    """Sends reports and finished requests until cancelled."""

    def __init__(
        self,
        control_plane: ControlPlane,
        reporter: Reporter,
        readiness: Readiness,
        ledger: LoadLedger,
        clock: ServerClock,
    ) -> None:
        self._control_plane = control_plane
        self._reporter = reporter
        self._readiness = readiness
        self._ledger = ledger
        self._clock = clock
        self._acknowledged = ledger.counters.copy()
        self._disk_gb = _disk_used_gb()
        self._cache = CacheWindow()
        # Numbers of a later boot are higher, so that the newest report is known across restarts.
        self._seq = int(clock.local_now() * 1000)
        self._key_id: object = None
        self._pace = Pace()
        self._wake = asyncio.Event()
        self.on_key_change: Callable[[], Awaitable[None]] | None = None
        self.session_keys: Callable[[], list[str]] = list  # names of keys with open sessions
        self.on_keys_ended: Callable[[Collection[str]], None] | None = None

    def note_request(self) -> None:
        """A request came, started, or ended: report within a second."""
        if not self._pace.has_news:  # else the loop has counted with it
            self._pace.has_news = True
            self._wake.set()

    def note_change(self) -> None:
        """Readiness or the error changed: report at once."""
        self._pace.is_urgent = True
        self._wake.set()

    def note_certificate(self, sha256: str) -> None:
        """Clients that pin it must hear of another one at once."""
        self._reporter = replace(self._reporter, certificate_sha256=sha256)
        self.note_change()

    async def run(self) -> None:
        """Report for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._sleep_until_due(loop)
            self._pace.is_urgent = self._pace.has_news = False
            self._pace.sent_at = loop.time()
            try:
                await self.send_once()
            except ControlPlaneError as error:
                self._pace.n_failures += 1
                logger.warning("report not delivered", extra={"reason": str(error)})
            else:
                self._pace.n_failures = 0

    async def _sleep_until_due(self, loop: asyncio.AbstractEventLoop) -> None:
        while (pause_s := self._pace.due_at() - loop.time()) > 0:
            self._wake.clear()
            try:
                # Not wait_for: in Python 3.11 it swallows a cancellation that meets the event.
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def send_once(self) -> None:
        """One report, then the finished requests that wait.

        Raises:
            ControlPlaneError: something was not delivered; it will be sent again.
        """
        self._seq += 1
        disk = DiskUsage(_disk_used_gb(), self._disk_gb)
        counters, error = self._ledger.counters.copy(), self._readiness.error
        sent_at = self._clock.local_now()
        told = self._readiness.prompts or counters.prompts
        self._cache.take(told, counters.received_load, sent_at)
        body = status_report(
            self._reporter,
            self._readiness,
            self._ledger,
            self._acknowledged,
            self._seq,
            disk,
            self._cache,
            sent_at,
        )
        if names := self.session_keys():
            body["session_keys"] = names
        reply = await self._control_plane.send_report(body)
        self._acknowledged, self._disk_gb = counters, disk.now_gb
        self._readiness.told(error)
        await self._take_reply(reply, sent_at)
        while batch := self._ledger.undelivered(BATCH_SIZE):
            await self._control_plane.send_finished(finished_requests(self._reporter, batch))
            self._ledger.acknowledge(batch)

    async def _take_reply(self, reply: dict[str, object], sent_at: float) -> None:
        server_now = reply.get("now")
        if isinstance(server_now, int | float):
            self._clock.correct(float(server_now), sent_at, self._clock.local_now())
        ended = reply.get("ended_keys")
        if isinstance(ended, list) and self.on_keys_ended:
            self.on_keys_ended([name for name in ended if isinstance(name, str)])
        key_id = reply.get("key_id")
        if key_id and key_id != self._key_id:
            if self._key_id is not None and self.on_key_change:
                await self.on_key_change()
            self._key_id = key_id


def _disk_used_gb() -> float:
    return shutil.disk_usage("/").used / 2**30
