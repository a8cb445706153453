"""At 60, 80, 120 and 200 columns: what names a row stays, nothing is wider than the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fakes.console.server import Console
from tests.ballast.cli.test_cost import RENT

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("status", ["TGI-Llama3"]),
        ("workers TGI-Llama3", ["21000000", "21000002"]),
        ("spend", ["2026-11-18", "old (deleted)"]),
        ("compare TGI-Llama3", ["11", "RTX 4090"]),
        ("show endpoints", ["TGI-Llama3"]),
        ("show autogroups", ["11", "12"]),
    ],
)
def test_what_names_a_row_stays_whole(
    ballast: Ballast,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    words: str,
    named: list[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    result = ballast(*words.split())
    assert result.code == 0
    for name in named:
        assert name in result.out, result.out
    assert max(len(line) for line in result.out.splitlines()) <= width
    assert "\x1b" not in result.out  # NO_COLOR


def test_without_a_terminal_rows_are_whole_lines(
    ballast: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    lines = ballast("workers", "TGI-Llama3").out.splitlines()
    assert sum("21000000" in line and "RTX" in line for line in lines) == 1


def test_without_a_terminal_what_is_asked_is_told_in_whole_lines(
    ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 80 columns, as a log has them, a plan's reasons found no room."""
    monkeypatch.delenv("COLUMNS")
    why = "A test of this hardware: 1 of 1 test workers missing, and nothing is known of it yet."
    plan = {"actions": [{**RENT, "sentence": why}], "usd_per_hour_now": 0, "usd_per_hour_after": 0}
    console.answers["/api/v0/preview"] = {"plan": plan}
    said = ballast("update", "endpoint", "TGI-Llama3", "--min_load", "3").err
    assert any(why in line for line in said.splitlines()), said
