"""Child processes that end with their parent, whatever ends it, each with a log file."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_TIMEOUT_S = 10.0
LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1


class ChildError(Exception):
    """A child ended by itself; the message shows the end of its log."""


def listen(port: int = 0) -> socket.socket:
    """A socket that listens on loopback: on this port, or on a free one if it is taken.

    It is opened before the process that serves it, so no port is guessed and callers may connect
    at once.
    """
    for candidate in (port, 0):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, candidate))
        except OSError:
            listener.close()
            if candidate == 0:
                raise
            continue
        listener.listen(1024)
        return listener
    raise OSError("no free port on loopback")


def url_of(listener: socket.socket) -> str:
    """Where a socket answers."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"


@dataclass(frozen=True, slots=True)
class Child:
    """A running child."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path


@dataclass(slots=True)
class Children:
    """Starts children and ends them all, last started first."""

    log_directory: Path
    _children: list[Child] = field(default_factory=list)

    def start(
        self,
        name: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        fd: int | None = None,
        python: str = sys.executable,
        cwd: Path | None = None,
    ) -> Child:
        """Start a Python program as a child, which inherits the file descriptor and no other.

        `cwd` is also where it finds its modules first.
        """
        self.log_directory.mkdir(parents=True, exist_ok=True)
        log_path = self.log_directory / f"{name}.log"
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                [python, *arguments],
                env=dict(environment),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=() if fd is None else (fd,),
                preexec_fn=_end_with_parent,
            )
        child = Child(name, process, log_path)
        self._children.append(child)
        return child

    def pids(self) -> dict[str, int]:
        """Each child's process, by its name."""
        return {child.name: child.process.pid for child in self._children}

    def forget(self, child: Child) -> None:
        """A child that was ended on purpose is not missed."""
        self._children.remove(child)

    def check(self) -> None:
        """Make sure that all live.

        Raises:
            ChildError: one ended by itself.
        """
        for child in self._children:
            if child.process.poll() is not None:
                tail = child.log_path.read_text(errors="replace")[-3000:]
                raise ChildError(f"{child.name} ended ({child.process.returncode}):\n{tail}")

    def stop(self) -> None:
        """Ask every child to end, and end those that do not."""
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        for child in reversed(self._children):
            _wait_or_kill(child.process)
        self._children.clear()


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """In the child: ask Linux for SIGTERM when the parent dies.

    Its own process group keeps a terminal's Ctrl-C for the parent, which ends all in order.
    """
    os.setpgrp()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
