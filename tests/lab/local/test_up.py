"""`python -m lab.local up` as its user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import requests

from lab.local.processes.children import listen, url_of

STOP_TIMEOUT_S = 120.0


def up(
    *arguments: str, state: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The command as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "lab.local", "up", "--state", str(state), *arguments],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "sign", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM]
)
def test_it_tells_where_it_is_and_leaves_no_process(sign: signal.Signals, tmp_path: Path) -> None:
    """One line of JSON on standard output; a taken port is replaced; a signal ends all."""
    with (
        listen() as taken,
        up("--json", "--port", str(taken.getsockname()[1]), state=tmp_path) as process,
    ):
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert set(told) == {"url", "account_key", "market_url", "pid"}
        assert told["pid"] == process.pid
        assert told["url"] != url_of(taken)
        assert requests.get(f"{told['url']}/pubkey/", timeout=30).text.startswith("-----BEGIN")

        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 4
        process.send_signal(sign)
        assert process.wait(STOP_TIMEOUT_S) == 0
        _, alive = psutil.wait_procs(family, STOP_TIMEOUT_S)
        assert not alive


def test_it_refuses_to_start_beside_real_credentials(tmp_path: Path) -> None:
    environment = {"AWS_ACCESS_KEY_ID": "AKIAREAL", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
    process = up("--json", state=tmp_path, environment=environment)
    output, errors = process.communicate(timeout=STOP_TIMEOUT_S)
    assert process.returncode == 1
    assert output == ""
    assert "AWS_ACCESS_KEY_ID" in errors
    assert "s3cr3t" not in errors
