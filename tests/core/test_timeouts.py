"""Learned time-outs: quick times never make an hour look normal, slow ones lengthen patience."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.scaling.learning import (
    LOAD_TIMEOUT_CAP_S,
    LOAD_TIMEOUT_FLOOR_S,
    START_TIMEOUT_CAP_S,
    START_TIMEOUT_FLOOR_S,
    Beliefs,
    add_sample,
)
from chalicelib.core.scaling.memory import Moments, ScalingMemory


def _moments(times: list[float]) -> Moments:
    moments = [0.0, 0.0, 0.0]
    for seconds in times:
        moments = add_sample(moments, math.log(seconds))
    return moments


def _load_timeout(*loads: float) -> float:
    return Beliefs(ScalingMemory(load_times={"1": _moments([*loads])})).load_timeout(1)


def _start_timeout(*starts: float) -> float:
    return Beliefs(ScalingMemory(start_times=_moments([*starts]))).start_timeout()


@given(st.lists(st.floats(1.0, 300.0), max_size=60))
def test_loads_quicker_than_expected_never_stretch_the_limit_beyond_25_minutes(
    loads: list[float],
) -> None:
    assert LOAD_TIMEOUT_FLOOR_S <= _load_timeout(*loads) <= 25 * 60


def test_fifteen_minutes_of_loading_are_fine_after_many_quick_loads() -> None:
    """A host with a slow link among quick ones (promises.md 32)."""
    assert 15 * 60 < _load_timeout(*[60.0] * 50) < 40 * 60


@given(st.lists(st.floats(1.0, 20.0), max_size=60))
def test_starts_quicker_than_expected_never_stretch_the_limit_beyond_75_seconds(
    starts: list[float],
) -> None:
    assert START_TIMEOUT_FLOOR_S <= _start_timeout(*starts) <= 75


@given(st.lists(st.floats(1.0, 86_400.0), max_size=60))
def test_whatever_was_seen_the_limits_stay_within_their_bounds(times: list[float]) -> None:
    assert LOAD_TIMEOUT_FLOOR_S <= _load_timeout(*times) <= LOAD_TIMEOUT_CAP_S
    assert START_TIMEOUT_FLOOR_S <= _start_timeout(*times) <= START_TIMEOUT_CAP_S


@pytest.mark.parametrize("slow_s", [900.0, 1200.0, 2400.0])
def test_slow_loads_are_learned_from_the_first_on(slow_s: float) -> None:
    """A model that always takes so long is not given up for it."""
    limits = [_load_timeout(*[slow_s] * n) for n in range(1, 10)]
    assert min(limits) > 1.5 * slow_s
