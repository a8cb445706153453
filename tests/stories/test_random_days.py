"""Random days, with the liveness of every minute: dice for many, Hypothesis for the smallest."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stories.random_day import (
    FAULTS,
    FLOORS,
    KINDS,
    MOST,
    SLIPS_S,
    TRAFFIC,
    Act,
    RandomDay,
    random_act,
)

ACTS = st.builds(
    lambda kind, fault, state, floor, frozen, most, slip, asks: Act(
        kind,
        {"fault": fault, "state": state}.get(kind, ""),
        {"floor": floor, "freeze": frozen, "most": most, "slip": slip}.get(kind, 0.0),
        asks,
    ),
    st.sampled_from(("", "", *KINDS)),
    st.sampled_from(FAULTS),
    st.sampled_from(("active", "suspended")),
    st.sampled_from(FLOORS),
    st.sampled_from((0.0, 1.0)),
    st.sampled_from((1.0, 2.0, float(MOST))),
    st.sampled_from(SLIPS_S),
    st.sampled_from(TRAFFIC),
)


def assert_a_day_ends_well(seed: int, n_minutes: int) -> None:
    """A day of bad luck, each minute of it checked (random_day.py), then what must hold after."""
    dice, it = random.Random(seed), RandomDay(seed)
    for _ in range(n_minutes):
        it.act(random_act(dice))
    it.ends_well()


@pytest.mark.parametrize("seed", range(2))
def test_random_days(seed: int) -> None:
    assert_a_day_ends_well(seed, 90)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_random_days(seed: int) -> None:
    """20 seeds, 10,000 minutes."""
    assert_a_day_ends_well(seed, 500)


def assert_acts_end_well(acts: list[Act], n_minutes: int) -> None:
    """Acts with quiet minutes between them."""
    it = RandomDay(7)
    it.act(Act("", asks=3))
    for act in acts:
        it.act(act)
        for _ in range(n_minutes):
            it.minute(act.asks)
    it.ends_well()


@settings(max_examples=3)
@given(st.lists(ACTS, min_size=1, max_size=6))
def test_no_short_day_ends_badly(acts: list[Act]) -> None:
    """A failure is shrunk to the fewest acts that show it."""
    assert_acts_end_well(acts, 3)


@pytest.mark.long
@settings(max_examples=100)
@given(st.lists(ACTS, min_size=1, max_size=30))
def test_no_day_ends_badly(acts: list[Act]) -> None:
    assert_acts_end_well(acts, 4)
