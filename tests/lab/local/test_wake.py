"""A request to a group that has nothing rented makes the scaler decide, without its schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.local.system.local_system import local_system
from lab.local.trials.wake import BUDGET_S, NO_SCHEDULE, PARAMS, wake


def test_a_crowd_that_wakes_a_group_is_poked_for_at_once_and_rents_once() -> None:
    """The schedule would come in a day: so the routers' pokes alone made it decide."""
    with local_system(NO_SCHEDULE, print) as system:
        outcome = wake(system, n_clients=20, seconds=2.0)
    assert outcome.problems == ()
    assert 1 <= outcome.n_rented <= PARAMS["max_workers"]


@pytest.mark.long
def test_a_first_request_is_decided_on_within_two_seconds() -> None:
    with local_system(NO_SCHEDULE, print) as system:
        outcome = wake(system, n_clients=1, seconds=3.0)
    assert outcome.problems == ()
    assert outcome.decided_after_s < BUDGET_S


@pytest.mark.long
def test_a_thousand_clients_wake_a_group_with_one_rental() -> None:
    with local_system(replace(NO_SCHEDULE, n_gateways=2, has_ministack=True), print) as system:
        outcome = wake(system, n_clients=1_000, seconds=15.0)
    assert outcome.problems == ()
    assert 1 <= outcome.n_rented <= PARAMS["max_workers"]
