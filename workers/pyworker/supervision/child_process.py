"""One process of an instance, kept running: itself and all that it started, as one group."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from workers.pyworker.model.model_log import cause_in
from workers.pyworker.supervision.restarts import RestartPolicy

logger = logging.getLogger(__name__)

STOP_GRACE_S = 10.0
MAX_LOG_READ = 1 << 16
FULL_BELOW = 1 << 20
"""Bytes left on a disk, for ordinary users: fewer than what a model server logs as it starts."""
_PR_SET_PDEATHSIG = 1


@dataclass(kw_only=True)
class ChildProcess:
    """What to run; `log` (optional) gets its output, begun anew at each start.

    `outlives_us`: it is to notice when this process dies, instead of dying with it.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    report: Callable[[str], Awaitable[None]]
    log: Path | None = None
    outlives_us: bool = False
    grace_s: float = STOP_GRACE_S  # to end by itself when told to
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    _group: int = 0  # of the process that runs now

    async def keep_running(self) -> None:
        """Start it, and again whenever it ends, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            how = await self._run_once()
            self.policy.note_end(loop.time())
            logger.warning("process ended", extra={"child": self.name, "how": how})
            if self.policy.is_crash_loop:
                cause = await asyncio.to_thread(self._cause) if self.policy.n_unready else ""
                full = _told_if_full(self.log)
                await self.report(f"{self.name} {self.policy.words} ({how}){cause}{full}")
            await asyncio.sleep(self.policy.pause_s)

    async def _run_once(self) -> str:
        """Run until it ends; how it ended."""
        output = _new_log(self.log)
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self.command,
                env=dict(self.env),
                stdout=output,
                stderr=output,
                preexec_fn=None if self.outlives_us else _die_with_parent,
                start_new_session=True,
            )
        )
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await self._end(await starting)  # it has begun: nobody else knows its number
            raise
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        finally:
            if output:
                output.close()
        logger.info("process started", extra={"child": self.name, "pid": process.pid})
        self._group = process.pid
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            # An engine whose server is gone holds the GPU's memory, and no restart could succeed.
            _signal_group(process.pid, signal.SIGKILL)
            self._group = 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        _signal_group(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.grace_s):
                await process.wait()
        except TimeoutError:
            _signal_group(process.pid, signal.SIGKILL)
            await process.wait()
        _signal_group(process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """It is dead though it has not ended: end it and all that it started, at once."""
        if self._group:
            logger.warning("process killed", extra={"child": self.name})
            _signal_group(self._group, signal.SIGKILL)

    def _cause(self) -> str:
        """What its log says of an end before it served; after that it may quote a prompt."""
        if self.log is None:
            return ""
        try:
            with self.log.open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - MAX_LOG_READ, 0))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        cause = cause_in(lines)
        return f": {cause}" if cause else ""


def _told_if_full(log: Path | None) -> str:
    """A process that cannot write its log ends without a word of why."""
    if log is None:
        return ""
    with suppress(OSError):
        disk = os.statvfs(log.parent)
        if disk.f_bavail * disk.f_frsize < FULL_BELOW:
            return f"; the disk of {log.parent} is full"
    return ""


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _new_log(path: Path | None) -> BinaryIO | None:
    """An empty log; what an earlier run wrote is kept beside it, once.

    Without one (a full disk, a folder in its place) the process runs all the same.
    """
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.replace(path.with_name(path.name + ".old"))
        return path.open("ab")
    except OSError as error:
        logger.warning("no log", extra={"path": str(path), "reason": error.strerror})
        return None


def _die_with_parent() -> None:
    """A supervisor that is killed takes its processes along; the launch script starts it anew."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
