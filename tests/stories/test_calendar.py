"""Floors by the clock of a place, on the days on which that clock or its calendar is odd."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from tests.stories.day import Day

LONG = pytest.mark.long


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("zone", "cron", "begins"),
    [
        ("Europe/Berlin", "30 2 * * *", "2027-03-28T01:30"),  # an hour that is skipped
        ("Europe/Berlin", "30 2 * * *", "2027-10-31T00:30"),  # one that comes twice
        pytest.param("America/New_York", "0 1 * 11 sun", "2027-11-07T05:00", marks=LONG),
        # by half an hour
        pytest.param("Australia/Lord_Howe", "45 1 * * *", "2027-04-03T14:45", marks=LONG),
        # a month begins elsewhere
        pytest.param("Pacific/Auckland", "0 0 1 * *", "2027-01-31T11:00", marks=LONG),
        ("Asia/Kolkata", "0 9 29 2 *", "2028-02-29T03:30"),  # a leap day
    ],
)
def test_a_floor_of_an_hour_is_there_in_time_for_an_hour_and_once(
    zone: str, cron: str, begins: str
) -> None:
    day = Day()
    day.world.clock.advance(utc(begins) - 50 * 60 - day.world.now)
    group = day.group(max_workers=3, cold_workers=2)
    day.schedule(group, cron, duration_s=3600.0, min_load=150.0, timezone=zone)
    day.minutes(25)
    assert day.running() == 0, "explored, and at rest before it begins"
    day.minutes(24)
    day.minutes(2)
    for _ in range(58):
        assert day.n(WorkerState.READY, of=group) == 2
        day.minutes(1)
    rented = day.calls(Verb.CREATE)
    day.minutes(45)
    assert day.running() == 0, "the clock names it once"
    assert day.calls(Verb.CREATE) == rented
    assert day.troubles() == {}
    day.ends()
