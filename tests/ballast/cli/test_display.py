"""Tables fit their terminal: nothing is cut, and what matters least goes first."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ballast.cli.errors import CliError
from ballast.cli.models.questions import files_of
from ballast.cli.terminal.display import PlainConsole, counts, json_text, state_cell, table

COLUMNS = (">id", "state", "?>observed", "error")
ROWS = [("20000001", "model_loading", "1,234", "HF_TOKEN must be set: the model is gated")]


def printed(width: int) -> str:
    console = Console(width=width, file=io.StringIO(), markup=False)
    console.print(table("1 worker", COLUMNS, ROWS))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_wide_terminal_shows_every_column_on_one_line() -> None:
    assert "1,234" in printed(120)
    assert len(printed(120).splitlines()) == 3


@pytest.mark.parametrize(
    ("width", "observed"),
    [
        (40, "  observed: 1,234"),  # a row becomes lines, which have room for all
        (60, "no room at this width for: observed"),
        (70, "no room at this width for: observed"),
    ],
)
def test_a_narrow_one_drops_optional_columns_and_says_so_and_cuts_no_id_and_no_word(
    width: int, observed: str
) -> None:
    text = printed(width)
    assert observed in text.splitlines()
    assert "20000001" in text
    assert "…" not in text
    assert "gated" in text


def test_a_state_is_told_in_a_word_that_an_owner_knows() -> None:
    assert counts({"ready": 2, "unavail": 1}) == "2 ready, 1 unavailable"
    assert counts({"paused": 3, "ready": 0}) == "3 outbid", "as `ballast workers` calls them"
    assert state_cell("unavail").plain == "unavailable"
    assert state_cell(None).plain == "-"


@given(st.text())
def test_json_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    """A worker's error with U+009B (CSI) or U+202E came through `--json` raw."""
    shown = json_text({"error": text, "also": "\u009b31m\u202e \x7f é 漢"})
    assert json.loads(shown)["error"] == text
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "é 漢" in shown


@pytest.mark.parametrize("evil", ["\u009b31m", "\u202e", "\x1b]0;x\x07"])
def test_what_a_worker_answers_steers_no_terminal(evil: str) -> None:
    """A step's number and an answer without a text came through `ballast call` raw."""
    console = PlainConsole(file=io.StringIO(), markup=False)
    console.print(f"step {evil} of 9")
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue() + json_text({"odd": evil}, indent=None)
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert json_text({"a": 1}, indent=None) == '{"a": 1}'


@pytest.mark.parametrize(
    ("told", "ending"),
    [("png", "png"), ("x-wav", "wav"), ("svg+xml", "svg"), ("", "bin"), ("..\\..\\x", "bin"),
     ("png\u009b31m", "bin"), ("a" * 300, "bin")],
)  # fmt: skip
def test_a_worker_names_no_file(told: str, ending: str) -> None:
    image = f"data:image/{told};base64,aGk="
    assert list(files_of({"images": [image]})) == [(ending, b"hi")]


def test_an_errors_message_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    CliError("no worker \x1b]0;x\x07 \u009b31m\u202e", fix="ask \x1b[2J").show()
    told = capsys.readouterr().err
    assert all(c.isprintable() or c == "\n" for c in told)
    assert "no worker" in told
