"""Counts in what owners read: the words fit one as well as many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chalicelib.core.words import count, listed

ROOT = Path(__file__).parents[2]
READ_BY_OWNERS = ("chalicelib", "ballast/cli", "infra")
_COUNTED = re.compile(r"\{(?:len\([^{}]*\)|(?:\w+\.)*n(?:_\w+)?)\} (?:more )?[a-z]+s\b")
NEVER_ONE = {
    "chalicelib/wire/routing.py": "more keys than are allowed",
    "chalicelib/core/codec.py": "a stored value of another version",
    "chalicelib/core/model/schedules.py": "fields that are not five",
    "chalicelib/wire/vast.py": "more characters than are allowed",
    "chalicelib/wire/json_body.py": "more bytes than are allowed",
    "chalicelib/services/market/search_hints.py": "parts that fit several offers each",
    "ballast/cli/probe/prober.py": "what a probe of the real Vast recorded",
    "ballast/cli/replay.py": "fewer requests than can be learned from",
    "infra/audit.py": "for those who build",
}


def test_a_long_list_is_cut_and_says_how_much_is_missing() -> None:
    assert listed([]) == ""
    assert listed([7, "a"]) == "7, a"
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed(range(11)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 1 more"


@pytest.mark.parametrize(
    ("n", "words"), [(0, "0 workers"), (1, "1 worker"), (2, "2 workers"), (1200, "1,200 workers")]
)
def test_a_count_has_the_words_of_its_number(n: int, words: str) -> None:
    assert count(n, "worker") == words


def test_a_sentence_may_change_with_the_count() -> None:
    assert [count(n, "request waits", "requests wait") for n in (1, 2)] == [
        "1 request waits",
        "2 requests wait",
    ]


def test_no_text_for_owners_puts_a_plural_behind_any_number() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for folder in READ_BY_OWNERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in NEVER_ONE
        for hit in _COUNTED.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_exceptions_are_there() -> None:
    assert [name for name in NEVER_ONE if not (ROOT / name).exists()] == []
