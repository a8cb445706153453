"""Equal attainment: a rival's cost between its knob points."""

from __future__ import annotations

import pytest

from ballast.simulator.report import attainment_for, cost_at, frontier

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


def test_attainment_for_a_cost_is_the_inverse_and_rentals_go_along() -> None:
    points = [(share, cost, 100 * cost) for share, cost in POINTS]
    share, rentals = attainment_for(1.4, points) or (0.0, 0.0)
    assert share == pytest.approx(1 - 10**-2.5)
    assert rentals == pytest.approx(140.0)
    assert pytest.approx((0.999, 160.0)) == attainment_for(2.0, points)
    assert attainment_for(0.9, points) is None
    assert attainment_for(1.0, []) is None
