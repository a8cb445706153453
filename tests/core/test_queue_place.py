"""Places in the queue, when a request will start, and when its client asks again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.load import WAITING_ENDS_S
from chalicelib.core.routing.admission import AdmissionParams, Queued
from chalicelib.core.routing.queue_place import (
    LONGEST_PAUSE_S,
    QueueProfile,
    estimate_place,
    is_note_due,
    poll_after_s,
    profile_queue,
)

NOW = 1_001.0
PARAMS = AdmissionParams()


def seen(age_s: float, cost: float = 10.0) -> Queued:
    return Queued(NOW - age_s, cost)


def queue(*ages_s: float, cost: float = 10.0) -> list[Queued]:
    return [seen(age, cost) for age in ages_s]


def test_a_large_one_stands_behind_small_ones_that_came_later() -> None:
    waiting = [seen(5, 100.0), *queue(3, 2, cost=1.0)]
    points = profile_queue(waiting, 34.0, PARAMS, NOW)
    profile = QueueProfile(points=points, capacity=1.0, typical_cost=34.0)
    assert estimate_place(waiting[0], NOW, profile, PARAMS).n_ahead == 2
    assert estimate_place(waiting[1], NOW, profile, PARAMS).n_ahead == 0


def test_a_place_and_an_eta_come_from_who_is_ahead() -> None:
    waiting = queue(9, 8, 7, 2, cost=100.0)
    profile = QueueProfile(
        points=profile_queue(waiting, 0.0, PARAMS, NOW), queued=50.0, capacity=50.0
    )
    place = estimate_place(seen(2), NOW, profile, PARAMS)
    assert place.n_ahead == 3
    assert place.eta_s == pytest.approx(7.0)
    assert estimate_place(seen(9), NOW, profile, PARAMS).n_ahead == 0


def test_who_is_overdue_stands_behind_all_who_are_not() -> None:
    waiting = queue(40, 12, 9, 2)
    profile = QueueProfile(points=profile_queue(waiting, 0.0, PARAMS, NOW), capacity=10.0)
    places = [estimate_place(request, NOW, profile, PARAMS).n_ahead for request in waiting]
    assert places == [2, 3, 0, 1]


def test_of_a_crowd_that_came_at_once_everybody_is_in_the_middle() -> None:
    profile = QueueProfile(
        points=profile_queue(queue(9, *[5] * 100, cost=1.0), 0.0, PARAMS, NOW), capacity=1.0
    )
    assert estimate_place(seen(9), NOW, profile, PARAMS).n_ahead == 0
    among = estimate_place(seen(5), NOW, profile, PARAMS)
    assert 40 <= among.n_ahead <= 60
    assert among.eta_s == pytest.approx(among.n_ahead, abs=7)  # the points are seven apart
    assert estimate_place(seen(0), NOW, profile, PARAMS).n_ahead == 101


def test_without_ready_workers_the_eta_counts_from_the_next_one() -> None:
    coming = QueueProfile(capacity_at=NOW + 40, coming_capacity=10.0)
    assert estimate_place(seen(0), NOW, coming, PARAMS).eta_s == 40
    assert estimate_place(seen(0), NOW, QueueProfile(), PARAMS).eta_s is None


def test_a_long_queue_is_told_in_few_points() -> None:
    points = profile_queue(queue(*range(1_000)), 0.0, PARAMS, NOW)
    assert len(points) <= 17
    assert points[-1][1:] == (1_000, 10_000.0)


@given(
    st.none() | st.floats(min_value=0, max_value=1e4),
    st.floats(min_value=0, max_value=0.999),
    st.booleans(),
)
def test_clients_are_asked_back_within_seconds(
    eta_s: float | None, dice: float, is_overdue: bool
) -> None:
    assert 0.3 < poll_after_s(eta_s, dice, is_overdue=is_overdue) <= LONGEST_PAUSE_S


@given(st.floats(min_value=0, max_value=1e4), st.floats(min_value=0, max_value=0.999))
def test_who_can_still_be_on_time_asks_more_often(eta_s: float, dice: float) -> None:
    on_time = poll_after_s(eta_s, dice, is_overdue=False)
    assert on_time <= min(poll_after_s(eta_s, dice, is_overdue=True), 2.7)


@given(
    st.floats(min_value=0, max_value=9),
    st.floats(min_value=0, max_value=0.999),
    st.floats(min_value=0.7, max_value=10),
)
def test_who_could_still_be_on_time_asks_once_more_before_it_is_late(
    eta_s: float, dice: float, left_s: float
) -> None:
    assert poll_after_s(eta_s, dice, is_overdue=False, left_s=left_s) <= left_s - 0.39


@pytest.mark.parametrize("eta_s", [None, 20.0])
def test_but_not_a_crowd_that_nobody_can_serve_in_time(eta_s: float | None) -> None:
    is_overdue = eta_s is not None
    usual = poll_after_s(eta_s, 0.5, is_overdue=is_overdue)
    assert poll_after_s(eta_s, 0.5, is_overdue=is_overdue, left_s=1.0) == usual > 1.0


@given(
    st.integers(min_value=1, max_value=2**53 - 1),
    st.lists(st.floats(min_value=0.1, max_value=LONGEST_PAUSE_S), min_size=20, max_size=60),
)
def test_a_request_that_polls_is_noted_before_it_counts_as_given_up(
    idx: int, pauses_s: list[float]
) -> None:
    now = noted_at = NOW
    for pause_s in pauses_s:
        now += pause_s
        if is_note_due(idx, now, NOW):
            noted_at = now
        assert now - noted_at < WAITING_ENDS_S


def test_about_half_of_the_late_polls_refresh_a_row() -> None:
    due = [is_note_due(1_000_003 * i, NOW + 5.0 * i, NOW - 60.0) for i in range(1, 2_000)]
    assert sum(due) / len(due) == pytest.approx(0.56, abs=0.02)
