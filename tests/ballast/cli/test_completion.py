"""The shell completes commands, options, and the names of groups and autogroups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from ballast.cli.root import root

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py


def completed(*words: str) -> list[str]:
    *before, last = words
    shell = ShellComplete(root, {}, "ballast", "_BALLAST_COMPLETE")
    return [str(one.value) for one in shell.get_completions(before, last)]


def test_names_and_ids_are_completed(ballast: Ballast) -> None:
    assert completed("status", "TG") == ["TGI-Llama3"]
    assert completed("rollback", "1") == ["11", "12"]
    assert "TGI-Llama3" in completed("update", "endpoint", "")


def test_without_a_server_nothing_is_completed(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLAST_URL", "http://127.0.0.1:9")
    assert completed("status", "") == []


def test_the_script_comes_as_json_too(ballast: Ballast) -> None:
    script = ballast("completion", "bash").out
    assert "_BALLAST_COMPLETE" in script
    assert ballast("completion", "bash", "--json").json()["script"].strip() == script.strip()
