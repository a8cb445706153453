"""The watchdog ends the groups that it was told about, and no others."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from lab.local.processes.process_watchdog import ProcessWatchdog, end_group, end_groups

TIMEOUT_S = 30.0
STUBBORN = (
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(99)"
)


def sleeper() -> subprocess.Popen[bytes]:
    """A process in a group of its own."""
    return subprocess.Popen(["sleep", "99"], start_new_session=True)


def test_what_is_watched_ends_with_the_watchdog_and_what_is_forgotten_does_not() -> None:
    watched, forgotten = sleeper(), sleeper()
    with ProcessWatchdog() as watchdog:
        watchdog.watch(watched.pid)
        watchdog.watch(forgotten.pid)
        watchdog.forget(forgotten.pid)
    assert watched.wait(TIMEOUT_S) == -15
    assert forgotten.poll() is None
    end_groups([forgotten.pid])
    assert forgotten.wait(TIMEOUT_S) == -15


def test_a_group_that_will_not_end_is_killed() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        end_groups([process.pid], grace_s=0.1)
        assert process.wait(TIMEOUT_S) == -9


def test_a_group_that_is_gone_is_no_error() -> None:
    process = sleeper()
    process.kill()
    process.wait()
    end_groups([process.pid])
    assert not end_group(process.pid, signal.SIGTERM)


def test_a_closed_watchdog_takes_no_more() -> None:
    watchdog = ProcessWatchdog()
    watchdog.close()
    with pytest.raises(ValueError, match="closed"):
        watchdog.watch(1)
