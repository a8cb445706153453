"""Callers' complaints: at once for their own key, for everybody only when they can be believed."""

from __future__ import annotations

import pytest

from chalicelib.core.routing.complaints import (
    LONGEST_AVOIDED_S,
    MAX_PAIRS,
    Complaints,
    may_suspect,
)

NOW = 1_800_000_000.0


def talk(*grants: tuple[int, str, int, int], now: float = NOW) -> Complaints:
    """(slot, key, grants, of which failed)."""
    complaints = Complaints()
    for slot, key, n, n_bad in grants:
        for _ in range(n):
            complaints.granted(slot, key, now)
        for _ in range(n_bad):
            complaints.failed(slot, key, now)
    return complaints


def test_a_keys_first_failure_turns_its_own_requests_away_at_once() -> None:
    complaints = talk((1, "a", 1, 1), (2, "a", 1, 0), (1, "b", 1, 0))
    assert complaints.turned_from("a", 2, NOW) == {1}
    assert complaints.turned_from("b", 2, NOW) == frozenset()
    assert complaints.turned_from("a", 2, NOW + 5.1) == frozenset(), "and then it is tried again"


def test_the_time_grows_with_each_failure_and_is_bounded() -> None:
    complaints = talk((1, "a", 2, 2))
    assert complaints.avoided_by("a", NOW + 9.9) == {1}
    assert complaints.avoided_by("a", NOW + 10.1) == frozenset()
    many = talk((1, "a", 40, 40))
    assert many.avoided_by("a", NOW + LONGEST_AVOIDED_S - 1) == {1}
    assert many.avoided_by("a", NOW + LONGEST_AVOIDED_S + 1) == frozenset()


def test_a_rare_failure_turns_nobody_away() -> None:
    assert talk((1, "a", 10, 1)).avoided_by("a", NOW) == frozenset()


def test_a_key_that_fails_everywhere_is_turned_away_from_nobody() -> None:
    complaints = talk(*((slot, "a", 3, 3) for slot in range(6)))
    assert complaints.turned_from("a", 6, NOW) == frozenset()
    assert talk((1, "a", 3, 3)).turned_from("a", 1, NOW) == frozenset(), "the only worker"


@pytest.mark.parametrize(
    ("grants", "is_convicted"),
    [
        ([(1, "a", 9, 9), (2, "b", 50, 0)], False),  # one key of several: its own affair
        ([(1, "a", 2, 1), (1, "b", 1, 1)], True),  # two keys agree
        ([(1, "a", 1, 1), (1, "b", 1, 1), (1, "c", 1, 0), (1, "d", 9, 0)], True),  # half of all
        ([(1, "a", 9, 9), (1, "b", 9, 9), *((1, k, 1, 0) for k in "cde")], False),  # two of five
        ([(1, "a", 50, 1), (1, "b", 50, 1)], False),  # two keys, of a hundred requests
        ([(1, "a", 4, 4), (2, "a", 30, 0)], True),  # the only key, and the other worker is well
        ([(1, "a", 4, 4), (2, "a", 8, 4)], False),  # the only key fails elsewhere, too
        ([(1, "a", 3, 3), (2, "a", 30, 0)], False),  # too few
        ([(1, "a", 4, 4)], True),  # the only key, the only worker
        ([(1, "a", 20, 8), (2, "a", 20, 0)], False),  # it serves most
    ],
)
def test_for_everybody(grants: list[tuple[int, str, int, int]], is_convicted: bool) -> None:
    assert talk(*grants).is_convicted(1, NOW) is is_convicted


def test_complaints_fade() -> None:
    complaints = talk((1, "a", 1, 1), now=NOW - 600)
    complaints.failed(1, "b", NOW)
    assert not complaints.is_convicted(1, NOW)


def test_what_was_acted_on_is_counted_anew() -> None:
    complaints = talk((1, "a", 1, 1), (1, "b", 1, 1))
    complaints.forget(1)
    assert not complaints.is_convicted(1, NOW)
    assert complaints.n_pairs == 0


def test_a_third_of_a_fleet_at_most() -> None:
    assert may_suspect(1, 0)
    assert may_suspect(5, 1)
    assert not may_suspect(4, 1)
    assert not may_suspect(1, 1)


def test_the_memory_is_bounded() -> None:
    complaints = Complaints()
    for i in range(MAX_PAIRS + 10):
        complaints.granted(i % 7, f"key{i}", NOW)
    assert sum(len(by_key) for by_key in complaints.tallies.values()) <= MAX_PAIRS
    assert complaints.n_pairs == sum(len(by_key) for by_key in complaints.tallies.values())
