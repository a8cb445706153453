"""Equal attainment: a rival's cost between its knob points."""

from __future__ import annotations

import pytest

from ballast.simulator.report import cost_at, frontier

POINTS = [(0.9, 1.0), (0.99, 1.2), (0.98, 1.3), (0.999, 1.6)]


def test_a_point_that_another_beats_in_both_is_not_on_the_frontier() -> None:
    assert frontier(POINTS) == [(0.9, 1.0), (0.99, 1.2), (0.999, 1.6)]


def test_cost_is_linear_in_the_nines() -> None:
    assert cost_at(POINTS, 0.99) == pytest.approx(1.2)
    assert cost_at(POINTS, 1 - 10**-2.5) == pytest.approx(1.4)


def test_outside_of_the_points_nothing_is_known() -> None:
    assert cost_at(POINTS, 0.9999) is None
    assert cost_at(POINTS, 0.5) is None
    assert cost_at(POINTS, 0.9) == 1.0
    assert cost_at([], 0.5) is None
