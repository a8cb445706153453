"""The budget of searches over a day, and the table of it in docs/internals/marketplace.md."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from chalicelib.core.fleet.searching import DAILY_ROWS, MOST_ROWS, SearchBook, SearchDay

MIDNIGHT = 1_800_057_600.0
PAGE = Path(__file__).parents[2] / "docs" / "internals" / "marketplace.md"
SEEN_TO_FIT = 2 * DAILY_ROWS


def a_day(n_groups: int, change_each_s: float = 0.0) -> tuple[SearchDay, Counter[int]]:
    """What groups that get their most rows, and rent nothing, search for in a day."""
    book, now, counts = SearchBook(), MIDNIGHT, Counter[int]()
    step_s = 6.0 if n_groups == 1 else 60.0  # between rounds
    while now < MIDNIGHT + 86_400.0:
        for group in range(n_groups):
            situation = int((now - MIDNIGHT) // change_each_s) if change_each_s else 1
            if book.is_due(group, situation, now):
                book.note(group, situation, MOST_ROWS, now)
                counts[group] += 1
        now += step_s
    return book.day, counts


ROWS = [
    ("one autogroup that cannot rent", 1, 0.0),
    ("two", 2, 0.0),
    ("ten", 10, 0.0),
    ("fifty", 50, 0.0),
    ("one whose situation changes each hour", 1, 3_600.0),
    ("one whose situation changes each minute", 1, 60.0),
]


@pytest.mark.parametrize(("name", "n_groups", "change_each_s"), ROWS)
def test_the_table_of_the_page_is_what_happens(
    name: str, n_groups: int, change_each_s: float
) -> None:
    """All of it fits what was seen to fit, the owner may search too, and none is left out."""
    day, counts = a_day(n_groups, change_each_s)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert f"| {name} | {day.n_searches:,} | {day.n_rows:,} |" in PAGE.read_text(encoding="utf-8")
    assert day.n_rows <= 0.75 * SEEN_TO_FIT


def test_no_row_of_the_table_is_without_its_test() -> None:
    """A row that nobody computes would be a promise."""
    table = PAGE.read_text(encoding="utf-8").partition("## The budget of searches")[2]
    names = re.findall(r"^\| ([^|]+) \| [0-9,]+ \|", table.partition("\n## ")[0], re.MULTILINE)
    assert names == [name for name, _, _ in ROWS]
