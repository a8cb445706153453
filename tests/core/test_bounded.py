"""A mapping that forgets what was written longest ago, and never everything at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.bounded import Bounded


@given(st.lists(st.integers(0, 9)), st.integers(1, 5))
def test_it_holds_the_entries_written_last(keys: list[int], limit: int) -> None:
    held: Bounded[int, int] = Bounded(limit)
    for at, key in enumerate(keys):
        held[key] = at
    newest = list(dict.fromkeys(reversed(keys)))[:limit]
    assert list(held) == newest[::-1]
    assert all(keys[at] == key for key, at in held.items())


def test_a_default_is_bounded_too() -> None:
    held: Bounded[str, list[int]] = Bounded(1)
    held.setdefault("one", []).append(1)
    held.setdefault("one", []).append(2)
    assert held == {"one": [1, 2]}
    held.setdefault("two", [])
    assert held == {"two": []}
