"""Counts in words that an owner reads: '1 worker', '2 workers'. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MOST_NAMED = 10  # chosen: a notice is read; the rest is on a page


def count(n: float, one: str, many: str = "") -> str:
    """A number with its words: `one` for exactly one, else `many`, which is `one` with an s."""
    return f"{n:,.0f} {one if n == 1 else many or f'{one}s'}"


def listed(names: Sequence[object]) -> str:
    """The first few of a list, and how many more there are."""
    more = len(names) - MOST_NAMED
    return ", ".join(map(str, names[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
