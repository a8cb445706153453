"""Pacing: no schedule of calls that honours it ever violates Vast's minimum intervals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.fleet.pacing import (
    CREATE_PENALTY_S,
    MIN_INTERVAL_S,
    QUOTA_KEY,
    Pacing,
    Verb,
    longest_wait_s,
    pacing_key,
    seconds_to_utc_midnight,
)

VERBS = st.sampled_from(list(Verb))


def test_the_intervals_are_those_that_vast_documents() -> None:
    """protocol.md F.5; the fakes take theirs from here, so no other test would see a slip."""
    documented = {"destroy": 3.0, "show": 2.0, "create": 4.5, "search": 6.0, "template": 3.0}
    documented["bid"] = 5.5
    assert {verb: s for verb, s in MIN_INTERVAL_S.items() if s > 1.0} == documented
    assert min(MIN_INTERVAL_S.values()) == 1.0


def test_a_verb_never_called_may_be_called_now() -> None:
    assert all(Pacing().wait_s(verb, 1e9) == 0 for verb in Verb)


@given(st.lists(st.tuples(VERBS, st.floats(0, 20)), max_size=60))
def test_calls_that_wait_as_told_keep_every_interval(wishes: list[tuple[Verb, float]]) -> None:
    """Whatever the mix of verbs and idle times, two calls under one key keep Vast's distance."""
    pacing, now = Pacing(), 1e9
    last: dict[str, float] = {}
    for verb, idle_s in wishes:
        now += idle_s + pacing.wait_s(verb, now + idle_s)
        key = pacing_key(verb)
        if key in last:
            assert now - last[key] >= MIN_INTERVAL_S[verb]
        last[key] = now
        pacing = pacing.called(verb, now)


@given(VERBS, st.floats(0, 1e5), VERBS)
def test_a_limit_delays_its_key_at_least_as_long_as_told_and_no_other(
    verb: Verb, retry_after_s: float, other: Verb
) -> None:
    pacing = Pacing().limited(verb, 1e9, retry_after_s)
    key = QUOTA_KEY if verb is Verb.SEARCH else pacing_key(verb)
    believed_s = min(retry_after_s, longest_wait_s(key, 1e9))
    assert pacing.wait_s(verb, 1e9) >= believed_s
    if pacing_key(other) != pacing_key(verb):
        assert pacing.wait_s(other, 1e9) == 0


def test_a_call_never_shortens_a_limit() -> None:
    pacing = Pacing().limited(Verb.SEARCH, 100.0, 1_000.0)
    assert pacing.called(Verb.SEARCH, 101.0).wait_s(Verb.SEARCH, 101.0) >= 999.0


@given(VERBS, st.floats(3_600.0, 1e7))
def test_a_call_under_a_clock_that_was_ahead_delays_none(verb: Verb, ahead_s: float) -> None:
    """A search waited for the time of that clock: till midnight, at most."""
    now = 1.8e9
    assert Pacing().called(verb, now + ahead_s).wait_s(verb, now) == 0


def test_a_limited_create_waits_for_the_penalty() -> None:
    assert Pacing().limited(Verb.CREATE, 0.0, 1.0).wait_s(Verb.CREATE, 0.0) >= CREATE_PENALTY_S


def test_starts_and_stops_are_counted_together() -> None:
    assert Pacing().called(Verb.START, 0.0).wait_s(Verb.STOP, 0.5) > 0


@pytest.mark.parametrize(
    ("now", "expected"), [(0.0, 86_400.0), (86_399.0, 1.0), (90_000.0, 82_800.0)]
)
def test_the_search_quota_returns_at_utc_midnight(now: float, expected: float) -> None:
    assert seconds_to_utc_midnight(now) == expected
