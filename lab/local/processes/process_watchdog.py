"""Ends process groups when the program that started them dies, whatever killed it.

A process of its own reads group ids from a pipe ("+123", "-123"). When the pipe closes, because
its parent closed it or is gone (SIGKILL included), it ends every group that is still registered.
No `preexec_fn` is needed, so threads may start processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from types import TracebackType

GRACE_S = 2.0


class ProcessWatchdog:
    """The parent's end of the pipe. Thread-safe: each message is one short write.

    Once closed, its methods raise ValueError.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
        )

    def watch(self, group_id: int) -> None:
        """End this group if we die."""
        self._tell(f"+{group_id}\n")

    def forget(self, group_id: int) -> None:
        """The group is gone; its id may be used by others."""
        self._tell(f"-{group_id}\n")

    def close(self) -> None:
        """End what is still registered, and the watchdog."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> ProcessWatchdog:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _tell(self, message: str) -> None:
        if self._process.stdin is None or self._process.stdin.closed:
            raise ValueError("the watchdog is closed")
        self._process.stdin.write(message.encode())


def end_group(group_id: int, sign: signal.Signals) -> bool:
    """Send a signal to a group; whether there was one."""
    try:
        os.killpg(group_id, sign)
    except ProcessLookupError:
        return False
    return True


def end_groups(group_ids: Iterable[int], grace_s: float = GRACE_S) -> None:
    """Ask groups to end, then make them."""
    living = [group for group in group_ids if end_group(group, signal.SIGTERM)]
    deadline = time.monotonic() + grace_s
    while living and time.monotonic() < deadline:
        time.sleep(0.05)
        living = [group for group in living if _exists(group)]
    for group in living:
        end_group(group, signal.SIGKILL)


def _exists(group_id: int) -> bool:
    try:
        os.killpg(group_id, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Read the pipe to its end, then end what is registered."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        with contextlib.suppress(ValueError):  # a message cut off by the parent's death
            group_id = int(line)
            if group_id > 1:
                groups.add(group_id)
            else:
                groups.discard(-group_id)
    end_groups(sorted(groups))


if __name__ == "__main__":
    main()
