"""Where the server and the key come from, and how a failure ends."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballast.cli.__main__ import run
from ballast.cli.errors import CliError
from ballast.cli.remote.configuration import Configuration, read_configuration, write_configuration
from ballast.cli.remote.server import Server
from fakes.console.server import KEY, Console, serve

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No server and no key known; gives where the configuration would be."""
    for name in ("BALLAST_URL", "BALLAST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "ballast" / "config.json"
    monkeypatch.setenv("BALLAST_CONFIG", str(path))
    return path


def test_nothing_known_names_the_fix(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 2
    assert "ballast login" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("statsu",), ("spend", "--days", "99"), ("logs",)])
def test_with_json_a_wrong_command_line_is_told_as_json(
    words: tuple[str, ...], ballast: Ballast
) -> None:
    result = ballast(*words, "--json")
    assert (result.code, result.out) == (2, "")
    answer = json.loads(result.err)
    assert (answer["success"], answer["code"]) == (False, 2)
    assert answer["msg"]


def test_nobody_there_is_3(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--url", "http://127.0.0.1:9", "--api-key", "k"]) == 3
    assert "does not answer" in capsys.readouterr().err


def test_a_bad_key_is_4(ballast: Ballast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BALLAST_API_KEY", "blk.bad")
    result = ballast("status")
    assert result.code == 4
    assert "should start with blk.; was all of it pasted?" in result.err


@pytest.mark.parametrize(
    ("status", "code"), [(400, 1), (404, 1), (409, 1), (403, 4), (500, 3), (503, 3)]
)
def test_what_the_server_says_decides_the_exit_code(
    ballast: Ballast, console: Console, status: int, code: int
) -> None:
    console.refusals["/api/v0/status"] = (status, "because of this")
    result = ballast("status", "--json")
    assert result.code == code
    assert "because of this" in result.err
    assert result.out == ""


def test_a_key_on_the_command_line_works_and_is_warned_about(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BALLAST_API_KEY")
    result = ballast("--api-key", KEY, "status")
    assert result.code == 0
    assert "every user of this machine" in result.err
    assert KEY not in result.err + result.out


def test_login_stores_a_private_file_that_later_commands_use(
    ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ballast("login").code == 0
    path = Path(os.environ["BALLAST_CONFIG"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.delenv("BALLAST_URL")
    monkeypatch.delenv("BALLAST_API_KEY")
    assert ballast("status").code == 0


def test_login_with_a_bad_key_stores_nothing(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BALLAST_API_KEY", "blk.bad")
    assert ballast("login").code == 4
    assert not Path(os.environ["BALLAST_CONFIG"]).exists()


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_configuration(path, Configuration(url="https://x", api_key="k"))
    assert read_configuration(path).api_key == "k"
    path.chmod(0o644)
    with pytest.raises(CliError, match="others may read") as refused:
        read_configuration(path)
    assert "chmod 600" in refused.value.fix


@pytest.mark.parametrize("url", ["ftp://x", "x", "https://", "http://ballast.example.com"])
def test_an_url_that_is_none_or_would_leak_the_key_is_refused(url: str) -> None:
    with pytest.raises(CliError):
        Server(url, "k")


def test_a_redirect_does_not_carry_the_key_away(console: Console) -> None:
    console.refusals["/api/v0/status"] = (302, "elsewhere")
    with serve(console) as url, pytest.raises(CliError):
        Server(url, KEY).get("/api/v0/status")


def test_help_needs_no_server(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "Exit codes" in capsys.readouterr().out
    assert run(["completion", "bash"]) == 0
    assert "_BALLAST_COMPLETE" in capsys.readouterr().out
