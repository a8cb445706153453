"""The command, run in this process against a console over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ballast.cli.__main__ import run
from fakes.console.console_scenes import fleet
from fakes.console.server import KEY, Console, serve


@dataclass(frozen=True, slots=True)
class Result:
    """How a run ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


Ballast = Callable[..., Result]


@pytest.fixture
def console() -> Console:
    """One group, TGI-Llama3, with three workers."""
    return fleet(3)


@pytest.fixture
def ballast(
    console: Console,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Ballast]:
    """Run the command with these words, signed in to the console, in a wide terminal."""
    with serve(console) as url:
        monkeypatch.setenv("BALLAST_URL", url)
        monkeypatch.setenv("BALLAST_API_KEY", KEY)
        monkeypatch.delenv("BALLAST_MARKET_URL", raising=False)
        monkeypatch.setenv("BALLAST_CONFIG", str(tmp_path / "config.json"))
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setenv("NO_COLOR", "1")

        def call(*words: str) -> Result:
            capsys.readouterr()
            code = run(words)
            captured = capsys.readouterr()
            return Result(code, captured.out, captured.err)

        yield call
