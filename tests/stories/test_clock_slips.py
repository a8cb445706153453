"""One loop runs under a wrong clock, then the time is right again: nothing waits for that time."""

from __future__ import annotations

import pytest

from chalicelib.core.model.worker import WorkerState
from tests.stories.day import Day

HOUR_S, DAY_S = 3600.0, 86_400.0
HOUR_USD = 3.0  # of what it may rent, with traffic


@pytest.mark.parametrize("ahead_s", [HOUR_S, DAY_S, 40 * DAY_S])
def test_after_a_loop_under_a_clock_that_is_ahead_it_serves_and_rests_as_ever(
    ahead_s: float,
) -> None:
    day = Day()
    group = day.group(max_workers=3, cold_workers=1)
    day.minutes(8, 2, of=group, rounds=6)
    assert day.n(WorkerState.READY) >= 1
    day.slip(ahead_s)
    day.minutes(6, 1, of=group, rounds=12)
    assert day.world.n_waiting == 0, "it serves"
    day.minutes(45)
    assert day.running() == 0, "it comes to rest"
    day.world.ask(group.endpoint_id, 2)
    day.minutes(6, rounds=12)
    assert day.world.n_waiting == 0, "and serves again"
    day.minutes(10)
    assert day.troubles() == {}
    day.ends()


@pytest.mark.parametrize("slips_s", [(HOUR_S,), (HOUR_S, -HOUR_S)])
def test_ten_jumps_book_no_hour_that_was_not_and_it_serves(slips_s: tuple[float, ...]) -> None:
    """They booked ten hours: the cap on idle machines was reached, and nobody was served."""
    day = Day()
    group = day.group(max_workers=3, cold_workers=1)
    day.minutes(8, 2, of=group, rounds=6)
    for _ in range(10):
        for slip_s in slips_s:
            day.slip(slip_s)
        day.minutes(1, 1, of=group, rounds=6)
    day.minutes(10, 1, of=group, rounds=6)
    assert day.world.n_waiting == 0
    assert day.troubles() == {}
    spent = day.world.ledger.account().spent_today_microusd / 1e6
    assert day.bill() < spent < day.bill() + HOUR_USD
    day.ends()


@pytest.mark.parametrize("slips_s", [(HOUR_S,), (40 * DAY_S,), (HOUR_S, -HOUR_S)])
def test_a_first_rental_under_a_wrong_clock_hinders_no_second(slips_s: tuple[float, ...]) -> None:
    day = Day()
    group = day.group(max_workers=3, cold_workers=0)
    day.world.ask(group.endpoint_id, 2)
    for slip_s in slips_s:
        day.slip(slip_s)
    day.minutes(12, rounds=6)
    assert day.world.n_waiting == 0
    day.minutes(60)
    assert day.running() == 0
    day.world.ask(group.endpoint_id, 2)
    day.minutes(12, rounds=6)
    assert day.world.n_waiting == 0
    day.ends()
