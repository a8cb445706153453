"""Each rule of docs/internals/aws-rules.md has a source, a place that enforces it, and a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RULES = ROOT / "docs" / "internals" / "aws-rules.md"
COLUMNS = ["rule", "source", "enforced by", "shown by", "obeyed by", "cannot be shown here"]
NOT_HERE = "no emulator here can show"
NAMED = re.compile(r"`([\w./]+\.(?:py|yaml|json))(?:::?(\w+))?`")
SHORT = ("", "lab/local/", "chalicelib/")  # how paths are abbreviated in the table


def rows() -> list[dict[str, str]]:
    lines = [line for line in RULES.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == COLUMNS
    return [dict(zip(COLUMNS, row, strict=True)) for row in cells[2:]]


ROWS = rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["rule"][:40])
def test_a_rule_is_enforced_and_shown_by_a_test_that_exists(row: dict[str, str]) -> None:
    assert row["source"]
    assert row["enforced by"]
    tests = [(path, name) for path, name in NAMED.findall(row["shown by"])]
    assert tests or NOT_HERE in row["shown by"]
    for path, name in tests:
        assert path.startswith("tests/")
        text = (ROOT / path).read_text()
        assert f"def {name}(" in text if name else "def test_" in text, (path, name)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["rule"][:40])
def test_what_enforces_and_obeys_a_rule_is_in_the_tree(row: dict[str, str]) -> None:
    for path, name in NAMED.findall(row["enforced by"] + row["obeyed by"]):
        found = [ROOT / start / path for start in SHORT if (ROOT / start / path).exists()]
        assert found, path
        assert not name or name in found[0].read_text(), (path, name)


def test_a_rule_is_stated_once() -> None:
    named = [row["rule"] for row in ROWS]
    assert len(set(named)) == len(named) > 15
