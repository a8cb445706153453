"""Router processes that share one database wait as the simulator says, and lose no grant."""

from __future__ import annotations

import pytest

from ballast.simulator.routed.routing import RoutingCase
from lab.bench.routers.routers import BUDGET, compare


def test_router_processes_grant_each_request_once_and_about_as_predicted() -> None:
    """So few requests say little of the tail: the mean wait must be of the predicted size."""
    case = RoutingCase(n_routers=3, n_workers=20, n_requests=600)
    report = compare(case, has_ministack=False)
    measured, predicted = report.measured, report.predicted
    assert measured.n_grants == case.n_requests
    assert measured.mean_wait_s < 2 * predicted.mean_wait_s + 0.1
    assert measured.attempts_per_grant < 2 * predicted.attempts_per_grant


@pytest.mark.long
def test_of_a_hundred_thousand_grants_no_more_are_slow_than_predicted() -> None:
    report = compare(RoutingCase(n_routers=20, n_workers=100), has_ministack=True)
    assert report.measured.n_grants == 100_000
    assert report.slow_ratio < BUDGET
