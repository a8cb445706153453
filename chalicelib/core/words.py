"""Counts in words that an owner reads: '1 worker', '2 workers'. Pure."""

from __future__ import annotations


def count(n: float, one: str, many: str = "") -> str:
    """A number with its words: `one` for exactly one, else `many`, which is `one` with an s."""
    return f"{n:,.0f} {one if n == 1 else many or f'{one}s'}"
