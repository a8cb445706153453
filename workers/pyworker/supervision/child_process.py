"""One process of an instance, kept running."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from workers.pyworker.supervision.restarts import RestartPolicy

logger = logging.getLogger(__name__)

STOP_GRACE_S = 10.0
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
    policy: RestartPolicy = field(default_factory=RestartPolicy)

    async def keep_running(self) -> None:
        """Start it, and again whenever it ends, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            how = await self._run_once()
            self.policy.note_end(loop.time())
            logger.warning("process ended", extra={"child": self.name, "how": how})
            if self.policy.is_crash_loop:
                n_ends = len(self.policy.ended_at)
                await self.report(f"{self.name} ended {n_ends} times in 2 minutes ({how})")
            await asyncio.sleep(self.policy.pause_s)

    async def _run_once(self) -> str:
        """Run until it ends; how it ended."""
        output = _new_log(self.log) if self.log else None
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                env=dict(self.env),
                stdout=output,
                stderr=output,
                preexec_fn=None if self.outlives_us else _die_with_parent,
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        finally:
            if output:
                output.close()
        logger.info("process started", extra={"child": self.name, "pid": process.pid})
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        return f"signal {-code}" if code < 0 else f"exit code {code}"


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(STOP_GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _new_log(path: Path) -> BinaryIO:
    """An empty log; what an earlier run wrote is kept beside it, once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_name(path.name + ".old"))
    return path.open("ab")


def _die_with_parent() -> None:
    """A supervisor that is killed takes its processes along; the launch script starts it anew."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
