"""Child processes end with their parent, and say why when they end before it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lab.local.processes.children import ChildError, Children, listen, url_of

SLEEPER = ["-c", "import time; time.sleep(60)"]


def wait_until_gone(pid: int, timeout_s: float = 30.0) -> None:
    """Wait for a process to end."""
    end = time.monotonic() + timeout_s
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end, f"process {pid} lives on"
        time.sleep(0.02)


def test_stop_ends_all(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("sleeper", SLEEPER, os.environ)
    children.check()
    children.stop()
    assert child.process.returncode == -signal.SIGTERM


def test_a_child_that_ended_is_named_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    child = children.start("broken", ["-c", "raise SystemExit('no database')"], os.environ)
    child.process.wait()
    with pytest.raises(ChildError, match=r"broken ended \(1\):\nno database"):
        children.check()


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the parent no chance to end them."""
    program = (
        "import os, time; from pathlib import Path;"
        "from lab.local.processes.children import Children;"
        f"child = Children(Path({str(tmp_path)!r})).start('s', {SLEEPER!r}, os.environ);"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    wait_until_gone(pid)


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with listen() as first:
        port = first.getsockname()[1]
        with listen(port) as second:
            assert second.getsockname()[1] != port
            assert url_of(second) == f"http://127.0.0.1:{second.getsockname()[1]}"
