"""`ballast logs --model`: a worker's model server's log, live, straight from the worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballast.cli.remote.model_log import chosen
from fakes.console.server import Console
from tests.ballast.cli.test_call import NAME, a_worker
from tests.ballast.client.world import DEFAULT_CTRL_C

Ballast = Callable[..., Any]


def test_the_last_lines_of_a_workers_model_server(
    ballast: Ballast, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_worker("hello_world", console, tmp_path, monkeypatch):
        with (tmp_path / "model.log").open("a") as log:
            log.write("a line with \x1b[31mcolour\nthe last one\n")
        said = ballast("logs", "--model", NAME, "--no-follow", "--tail", "2")
        told = ballast("logs", "--model", NAME, "--tail", "1", "--json").json()
    assert (said.code, said.out.splitlines()[1]) == (0, "the last one"), said.err
    assert "\x1b" not in said.out
    assert told["lines"] == ["the last one"]
    (asked, _) = console.sent("POST", "/route/")
    assert asked == {"endpoint": NAME, "model_log_of": told["worker"]}


def test_it_is_live_until_ctrl_c(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ballast: Ballast
) -> None:
    with a_worker("hello_world", console, tmp_path, monkeypatch):
        words = (sys.executable, "-m", "ballast.cli", "logs", "--model", NAME, "--tail", "1")
        process = subprocess.Popen(
            [*DEFAULT_CTRL_C, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "infer server has started\n"
            with (tmp_path / "model.log").open("a") as log:
                log.write("added\n")
            assert process.stdout.readline() == "added\n"
        finally:
            os.kill(process.pid, signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr


def test_the_worker_in_most_trouble_is_the_one_that_is_read() -> None:
    rows = [
        {"id": 1, "state": "ready"},
        {"id": 2, "state": "model_loading"},
        {"id": 3, "state": "ready", "error": "CUDA out of memory"},
        {"id": 4, "state": "stopped"},
    ]
    assert chosen(rows, None, "g")["id"] == 3
    assert chosen(rows[:2], None, "g")["id"] == 2
    assert chosen(rows, 4, "g")["id"] == 4


def test_what_cannot_be_read_is_said(ballast: Ballast, console: Console) -> None:
    assert "no TGI-Llama3 worker '99'" in ballast("logs", "--model", NAME, "--worker", "99").err
    for words in (("--model",), ("--worker", "1", NAME), ("--model", NAME, "--account")):
        assert ballast("logs", *words).code == 2
    console.refusals["/route/"] = (409, "worker 1 is loading: no PyWorker has reported yet")
    said = ballast("logs", "--model", NAME)
    assert (said.code, "has reported" in said.err) == (1, True)
    console.refusals["/route/"] = (401, "the model's log needs an admin key")
    said = ballast("logs", "--model", NAME)
    assert (said.code, "an admin key" in said.err) == (4, True)
    console.workers = {}
    assert "no worker of" in ballast("logs", "--model", NAME).err
