"""docs/internals/reliability.md: each promise names tests, and each test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
TEXT = (ROOT / "docs" / "internals" / "reliability.md").read_text()
ROWS = [row for row in TEXT.splitlines() if re.match(r"\| (C|R)\d+ ", row)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split()[1])
def test_every_promise_names_a_test(row: str) -> None:
    assert TEST.search(row)


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(TEXT))))
def test_every_named_test_exists(path: str, name: str) -> None:
    assert f"def {name}" in (ROOT / path).read_text()


def test_every_row_of_the_requirements_has_its_promise() -> None:
    told = set(re.findall(r"\b([CR]\d+)\b", TEXT))
    wanted = {f"R{n}" for n in range(1, 25)} | {"C1", "C2", "C3", "C14", "C15"}
    assert wanted <= told
