"""`python -m lab.local demo` as its user meets it: the whole of it in short, and Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

TRACE_S = 60  # its first requests come after 45 s
DEMO_TIMEOUT_S = 600.0  # the demo itself waits minutes for its first worker
STOP_TIMEOUT_S = 120.0
PNG = b"\x89PNG\r\n\x1a\n"


def demo(out: Path) -> subprocess.Popen[str]:
    """A short demo as a process; wide lines, so that none is wrapped."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab.local", "demo", "--seconds", str(TRACE_S), "--out", str(out)],
        env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it says up to the line with the words; they must come."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(f"{words!r} was never said:\n{said}")


def command_line(process: psutil.Process) -> str:
    """Its words; none of one that has just ended."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def assert_gone(family: Sequence[psutil.Process]) -> None:
    """None of the processes is left, nor becomes anybody's orphan."""
    _, alive = psutil.wait_procs(family, STOP_TIMEOUT_S)
    assert not alive


@pytest.mark.long
def test_the_demo_serves_refuses_forgeries_draws_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        said = read_until(process, "replaying")
        family = psutil.Process(process.pid).children(recursive=True)
        said += process.communicate(timeout=DEMO_TIMEOUT_S)[0]
    assert process.returncode == 0, said
    assert "honest one 200, forged one refused with 401, replayed one refused with 401" in said
    answered = re.search(r"(\d+) answered, 0 failed", said)
    assert answered, said
    assert int(answered[1]) > 0
    assert "always on" in said  # the yardstick
    assert (tmp_path / "demo.png").read_bytes().startswith(PNG)
    assert str(tmp_path / "demo.png") in said
    assert len(family) > 6  # AWS, market, gateway, scaler, and rented workers
    assert_gone(family)


def test_ctrl_c_ends_the_demo_and_every_rented_worker(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        read_until(process, "model_loading")  # workers run on rented machines
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("workers." in command_line(each) for each in family)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=STOP_TIMEOUT_S)[0]
    assert process.returncode == 130, said
    assert "stopped; nothing is left running" in said
    assert_gone(family)
