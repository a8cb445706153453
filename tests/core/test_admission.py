"""Who may start: on time first, the overdue in their share, keys by weight; places and ETAs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.core.model.endpoint_group import QueueOrder
from chalicelib.core.routing.admission import (
    ALWAYS,
    AdmissionParams,
    ClientKind,
    Cutoff,
    Queued,
    bind_within_s,
    decide_cutoffs,
    may_start,
    overdue_share,
    share_fairly,
    turn_at,
)
from chalicelib.core.routing.view import load_of_first, room_load

NOW = 1_001.0
PARAMS = AdmissionParams()
NEW = Queued(NOW, 10.0)
FIFO = AdmissionParams(queue_order=QueueOrder.FIFO)

queues = st.lists(
    st.builds(
        Queued,
        first_seen_at=st.floats(min_value=NOW - 60, max_value=NOW),
        cost=st.floats(min_value=0.1, max_value=1_000),
        key_id=st.sampled_from(["a", "b", "c"]),
    ),
    max_size=40,
)


def queue(*ages_s: float, cost: float = 10.0, key_id: str = "") -> list[Queued]:
    return [Queued(first_seen_at=NOW - age, cost=cost, key_id=key_id) for age in ages_s]


def admitted(waiting: list[Queued], room: float, params: AdmissionParams = PARAMS) -> list[float]:
    """Ages of those that may start."""
    cutoffs = decide_cutoffs(waiting, room, params, NOW)
    return [
        NOW - r.first_seen_at
        for r in waiting
        if may_start(r, NOW, cutoffs.for_key(r.key_id), params)
    ]


def test_with_nobody_waiting_everybody_may_start() -> None:
    assert decide_cutoffs([], 0.0, PARAMS, NOW).for_key("any") == Cutoff()


def test_those_still_on_time_go_first_the_oldest_of_them_first() -> None:
    assert admitted(queue(50, 40, 9, 5, 1), room=20.0) == [9, 5]


def test_the_overdue_get_what_is_left_the_oldest_first() -> None:
    assert admitted(queue(50, 40, 9, 5), room=30.0) == [50, 9, 5]


def test_newcomers_wait_behind_those_that_are_held_back() -> None:
    cutoff = decide_cutoffs(queue(9, 5, 1), 20.0, PARAMS, NOW).for_key("")
    assert not may_start(NEW, NOW, cutoff, PARAMS)


def test_newcomers_pass_when_only_the_overdue_wait_but_for_their_share() -> None:
    """A burst costs its excess only, and what became overdue is not starved."""
    cutoff = decide_cutoffs(queue(50, 40, 30), 10.0, PARAMS, NOW).for_key("")
    passed = [may_start(NEW, NOW, cutoff, PARAMS, dice=i / 100) for i in range(100)]
    assert 0.5 <= sum(passed) / 100 < 1.0


def test_no_room_is_kept_for_those_that_will_be_overdue_before_they_ask_again() -> None:
    """They may start if they ask in time; if they do not, others are not kept waiting for them."""
    waiting = queue(9, 8, 5, 4, 1)
    cutoff = decide_cutoffs(waiting, 20.0, PARAMS, NOW, ask_again_s=3.0).for_key("")
    may = [NOW - r.first_seen_at for r in waiting if may_start(r, NOW, cutoff, PARAMS)]
    assert may == [9, 8, 5, 4]


def test_fifo_is_strictly_by_age() -> None:
    assert admitted(queue(50, 40, 9, 5), 20.0, FIFO) == [50, 40]


def test_the_share_of_the_overdue_grows_with_their_age_to_a_half() -> None:
    shares = [overdue_share([NOW - age], PARAMS, NOW) for age in (11, 30, 60, 300, 1_000)]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.055, abs=0.01)
    assert shares[-1] == 0.5
    assert overdue_share([], PARAMS, NOW) == 0


def test_what_does_not_fit_on_time_leaves_the_overdue_their_share_and_no_more() -> None:
    waiting = [*queue(50, 49, cost=1.0), *queue(5, 4, 3, cost=10.0)]
    assert overdue_share([NOW - 50], PARAMS, NOW) * 14.0 == pytest.approx(1.63, abs=0.01)
    assert admitted(waiting, 14.0) == [50.0, 5.0, 4.0]


def test_who_asks_for_little_of_a_large_share_leaves_the_rest_to_others() -> None:
    given = share_fairly({"a": 6.0, "b": 2.0}, 7.0, {"a": 1.0, "b": 4.0})
    assert given == pytest.approx({"a": 5.0, "b": 2.0})


def test_in_a_small_room_the_overdue_get_their_share_of_the_moments() -> None:
    n = 0
    for i in range(1_000):
        waiting = [Queued(first_seen_at=i - age, cost=10.0) for age in (11.0, 5.0, 4.0)]
        cutoff = decide_cutoffs(waiting, 20.0, PARAMS, float(i)).for_key("")
        n += may_start(Queued(i - 11.0, 10.0), float(i), cutoff, PARAMS)
    share = overdue_share([0.0], PARAMS, 11.0)
    assert n / 1_000 == pytest.approx(share * 20 / 10, abs=0.01)


def test_a_small_one_goes_before_a_large_one_that_came_a_little_earlier() -> None:
    large, small = Queued(NOW - 5, 100.0), Queued(NOW - 3, 1.0)
    assert admitted([large, small], room=1.0) == [3]
    assert admitted([large, small], room=1.0, params=FIFO) == [5]


@given(queues, st.floats(min_value=0.1, max_value=1e5))
def test_size_costs_nobody_more_than_the_queue_target(
    waiting: list[Queued], typical: float
) -> None:
    for request in waiting:
        turn = turn_at(request, typical, PARAMS)
        assert 0 <= turn - request.first_seen_at <= PARAMS.target_queue_time
        larger = replace(request, cost=2 * request.cost)
        assert turn_at(larger, typical, PARAMS) >= turn


def test_a_single_request_larger_than_the_room_is_not_stuck() -> None:
    assert admitted(queue(5, cost=1e6), room=1.0) == [5]


@given(queues, st.floats(min_value=0, max_value=1e5))
def test_more_room_never_admits_fewer(waiting: list[Queued], room: float) -> None:
    fewer = decide_cutoffs(waiting, room, PARAMS, NOW)
    more = decide_cutoffs(waiting, room * 2 + 1, PARAMS, NOW)
    for r in waiting:
        if may_start(r, NOW, fewer.for_key(r.key_id), PARAMS):
            assert may_start(r, NOW, more.for_key(r.key_id), PARAMS)


@example([Queued(first_seen_at=941.0, cost=1.0), Queued(first_seen_at=941.0, cost=2.0)], 1.0)
@given(queues, st.floats(min_value=0.1, max_value=1e5))
def test_the_order_of_the_rows_does_not_matter(waiting: list[Queued], room: float) -> None:
    mirrored = decide_cutoffs(waiting[::-1], room, PARAMS, NOW)
    for key_id, cutoff in decide_cutoffs(waiting, room, PARAMS, NOW).by_key.items():
        other = mirrored.by_key[key_id]
        assert other.admit_before == pytest.approx(cutoff.admit_before)
        assert other.overdue_admit_before == pytest.approx(cutoff.overdue_admit_before)


@given(queues)
def test_room_for_all_admits_all(waiting: list[Queued]) -> None:
    cutoffs = decide_cutoffs(waiting, 1e9, PARAMS, NOW)
    assert all(c.admit_before == c.overdue_admit_before == ALWAYS for c in cutoffs.by_key.values())


def test_a_flooding_key_does_not_push_another_back() -> None:
    flood = queue(*(i / 100 for i in range(1, 901)), key_id="flood")
    small = queue(0.5, 0.2, key_id="small")
    cutoffs = decide_cutoffs([*flood, *small], 100.0, PARAMS, NOW)
    assert cutoffs.for_key("small").admit_before == ALWAYS
    n = sum(may_start(r, NOW, cutoffs.for_key("flood"), PARAMS) for r in flood)
    assert n == pytest.approx(8, abs=1)  # 100 less the other key's 20


demands = st.dictionaries(
    st.sampled_from("abcdef"), st.floats(min_value=0, max_value=1e6), min_size=1
)
weights = st.dictionaries(st.sampled_from("abcdef"), st.floats(min_value=0.1, max_value=10))


@given(demands, st.floats(min_value=0, max_value=1e6), weights)
def test_fair_shares_add_up_and_nobody_envies(
    wanted: dict[str, float], room: float, shares: dict[str, float]
) -> None:
    given_loads = share_fairly(wanted, room, shares)
    assert sum(given_loads.values()) == pytest.approx(room, abs=1e-3)
    short = {k for k in wanted if given_loads[k] < wanted[k] * 0.999999 - 1e-6}
    for k in short:
        for other in wanted:
            mine = given_loads[k] / shares.get(k, 1.0)
            theirs = min(given_loads[other], wanted[other]) / shares.get(other, 1.0)
            assert mine >= theirs * 0.9999 - 1e-6


def test_binding_is_late_for_those_that_can_wait_and_early_for_those_that_cannot() -> None:
    bounds = [bind_within_s(kind, PARAMS, 0.0) for kind in ClientKind]
    assert bounds == [2.0, 5.0, 30.0]
    tight = AdmissionParams(target_queue_time=1.0, max_queue_time=5.0)
    assert [bind_within_s(kind, tight, 0.0) for kind in ClientKind] == [1.0, 0.7, 5.0]


@pytest.mark.parametrize(
    ("service_s", "bound_s"), [(0.0, 2.0), (0.3, 2.0), (2.0, 2.0), (2.5, 1.6), (4.0, 1.0), (60, 1)]
)
def test_paced_clients_are_bound_the_later_the_longer_their_service(
    service_s: float, bound_s: float
) -> None:
    assert bind_within_s(ClientKind.PACED, PARAMS, service_s) == pytest.approx(bound_s)


def test_room_counts_only_workers_that_have_some() -> None:
    assert room_load([(100.0, 50.0), (100.0, 900.0)], bind_s=2.0, horizon_s=1.0) == 250


@pytest.mark.parametrize(
    ("n", "load"), [(0.0, 0.0), (1.0, 30.0), (1.5, 35.0), (2.0, 40.0), (3.0, 60.0)]
)
def test_so_many_slots_take_so_many_requests_large_or_small(n: float, load: float) -> None:
    """The older one is first in turn; slots beyond those who wait count as a mean one each."""
    waiting = [Queued(NOW - 1.0, 10.0), Queued(NOW - 9.0, 30.0)]
    assert load_of_first(waiting, n, PARAMS, NOW) == pytest.approx(load)
