"""A worker whose clock is off by more than two minutes refuses, and says why."""

from __future__ import annotations

import pytest

from tests.workers.test_admission import GOOD, IDENTITY, NOW, admit, good_ticket
from workers.pyworker.tickets.admission import UNSURE_CLOCK_LEEWAY_S, Admission, Admitted, Rejection


@pytest.mark.parametrize(
    ("worker_now", "reason"),
    [
        (NOW - UNSURE_CLOCK_LEEWAY_S - 1, "not valid yet"),
        (GOOD.expires_at + UNSURE_CLOCK_LEEWAY_S + 1, "expired"),
    ],
)
def test_beyond_two_minutes_the_refusal_names_the_reason(worker_now: float, reason: str) -> None:
    result = admit(Admission(IDENTITY), good_ticket(), worker_now)
    assert isinstance(result, Rejection)
    assert result.status == 503  # the client routes again, it is not accused of forgery
    assert reason in result.reason


def test_exactly_two_minutes_are_tolerated() -> None:
    for worker_now in (NOW - UNSURE_CLOCK_LEEWAY_S, GOOD.expires_at + UNSURE_CLOCK_LEEWAY_S):
        assert isinstance(admit(Admission(IDENTITY), good_ticket(), worker_now), Admitted)
