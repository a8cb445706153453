"""Arrivals are open-loop: when they come depends on nothing but the rate, the seed or the trace."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast.loadtest.arrivals import Arrival, TraceError, even, poisson, trace


def test_fractional_rates_are_honoured() -> None:
    assert [a.at_s for a in even(0.2, 4)] == [0.0, 5.0, 10.0, 15.0]


def test_random_arrivals_keep_the_rate_on_average_and_repeat_with_the_seed() -> None:
    moments = [a.at_s for a in poisson(2.0, 4000, random.Random(1))]
    assert moments == sorted(moments)
    assert 1900 < moments[-1] < 2100
    assert moments == [a.at_s for a in poisson(2.0, 4000, random.Random(1))]


def test_a_trace_is_replayed_at_any_speed() -> None:
    lines = ["at_s,tokens", "0,10", "1.5,", "4,30"]
    assert list(trace(lines, speed=2)) == [Arrival(0, 10), Arrival(0.75), Arrival(2, 30)]
    assert len(list(trace(lines, n=2))) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["time", "1"], "needs a column at_s"),
        (["at_s", "one"], "line 2"),
        (["at_s", "2", "1"], "line 3: at_s goes back"),
    ],
)
def test_a_bad_trace_names_the_line(lines: list[str], message: str) -> None:
    with pytest.raises(TraceError, match=message):
        list(trace(lines))


@given(st.floats(0.01, 1000), st.integers(1, 50))
def test_so_many_arrivals_as_asked_for(rate: float, n: int) -> None:
    assert len(list(even(rate, n))) == n == len(list(poisson(rate, n, random.Random(0))))
