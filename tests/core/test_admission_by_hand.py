"""Admission's figures worked out by hand: bounds, turns, shares and cut-offs, at their edges."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest

from chalicelib.core.model.endpoint_group import QueueOrder
from chalicelib.core.routing.admission import (
    ALWAYS,
    NEVER,
    AdmissionParams,
    Bound,
    ClientKind,
    Cutoff,
    Cutoffs,
    Queued,
    bind_within_s,
    bound_of,
    decide_cutoffs,
    is_overdue,
    may_start,
    overdue_share,
    share_fairly,
    turn_at,
    typical_cost_of,
)

NOW = 1_001.0
PARAMS = AdmissionParams()
FIFO = replace(PARAMS, queue_order=QueueOrder.FIFO)


def queue(*ages_s: float, cost: float = 10.0, key_id: str = "") -> list[Queued]:
    return [Queued(first_seen_at=NOW - age, cost=cost, key_id=key_id) for age in ages_s]


@pytest.mark.parametrize(
    ("times", "is_held", "bound"),
    [
        (1.25, False, Bound(5.0)),
        (1.26, False, Bound(1.0)),
        (1.0, True, Bound(5.0)),
        (1.01, True, Bound(0.6, is_strict=True)),
        (9.0, False, Bound(1.0)),
    ],
)
def test_a_key_that_had_more_than_its_share_yields(
    times: float, is_held: bool, bound: Bound
) -> None:
    assert bound_of(5.0, times_its_share=times, is_held=is_held, service_s=2.0) == bound


def test_a_bound_is_never_later_than_it_was() -> None:
    assert bound_of(0.5, times_its_share=9.0, is_held=False, service_s=9.0) == Bound(0.5)
    held = bound_of(0.5, times_its_share=9.0, is_held=True, service_s=9.0)
    assert held == Bound(0.5, is_strict=True)
    slow = bound_of(5.0, times_its_share=9.0, is_held=True, service_s=60.0)
    assert slow == Bound(1.0, is_strict=True)


@pytest.mark.parametrize(
    ("kind", "service_s", "target_s", "within_s"),
    [
        (ClientKind.ONE_SHOT, 5.0, 10.0, 30.0),
        (ClientKind.PACED, 0.0, 10.0, 2.0),
        (ClientKind.PACED, 2.0, 10.0, 2.0),
        (ClientKind.PACED, 2.5, 10.0, 1.6),
        (ClientKind.PACED, 9.0, 10.0, 1.0),
        (ClientKind.PACED, 0.0, 0.7, 0.7),
        (ClientKind.RANDOM, 5.0, 10.0, 5.0),
        (ClientKind.RANDOM, 5.0, 2.0, 1.4),
    ],
)
def test_how_soon_a_request_must_start_to_be_bound(
    kind: ClientKind, service_s: float, target_s: float, within_s: float
) -> None:
    params = replace(PARAMS, target_queue_time=target_s)
    assert bind_within_s(kind, params, service_s) == pytest.approx(within_s)


def test_a_request_is_overdue_once_its_target_has_passed() -> None:
    assert not is_overdue(NOW - 10.0, NOW, PARAMS)
    assert is_overdue(NOW - 10.1, NOW, PARAMS)


def test_a_turn_comes_later_for_a_large_request_by_less_than_the_target() -> None:
    request = Queued(NOW, 30.0)
    assert turn_at(request, 10.0, PARAMS) == NOW + 7.5
    assert turn_at(request, 0.0, PARAMS) == NOW
    assert turn_at(request, 0.5, PARAMS) > NOW + 9.0
    assert typical_cost_of([request, Queued(NOW, 10.0)], PARAMS) == 20.0
    assert typical_cost_of([request], FIFO) == 0.0
    assert typical_cost_of([], PARAMS) == 0.0


def test_who_may_start_at_the_edge_of_a_cutoff() -> None:
    cutoff = Cutoff(admit_before=NOW - 5, overdue_admit_before=NOW - 20, hold_share=0.3)
    assert may_start(Queued(NOW - 5, 1.0), NOW, cutoff, PARAMS)
    assert not may_start(Queued(NOW - 4, 1.0), NOW, cutoff, PARAMS)
    assert may_start(Queued(NOW - 5, 1.0), NOW, cutoff, PARAMS, dice=0.3)
    assert not may_start(Queued(NOW - 5, 1.0), NOW, cutoff, PARAMS, dice=0.29)
    assert may_start(Queued(NOW - 20, 1.0), NOW, cutoff, PARAMS, dice=0.0)
    assert not may_start(Queued(NOW - 19, 1.0), NOW, cutoff, PARAMS)
    large = replace(cutoff, typical_cost=1.0)
    assert may_start(Queued(NOW - 10, 1.0), NOW, large, PARAMS)
    assert not may_start(Queued(NOW - 9, 1.0), NOW, large, PARAMS)
    assert may_start(Queued(NOW - 5, 1.0), NOW, Cutoff(admit_before=NOW - 5), PARAMS, dice=0.0)


def test_a_key_goes_first_while_others_are_held_back() -> None:
    shut = Cutoff(admit_before=NOW)
    cutoffs = Cutoffs(by_key={"a": shut, "b": Cutoff()})
    assert (cutoffs.admits("a"), cutoffs.admits("b"), cutoffs.admits("c")) == (False, True, True)
    assert not Cutoffs(by_key={"b": Cutoff()}).admits("b")  # nobody is held back
    assert not Cutoffs(by_key={"a": shut, "c": shut}).admits("a")


@pytest.mark.parametrize(
    ("age_s", "share"),
    [(10.0, 0.05), (11.0, 0.05 + 0.5 / 300), (160.0, 0.3), (280.0, 0.5), (9e9, 0.5), (1.0, 0.05)],
)
def test_the_share_of_the_overdue(age_s: float, share: float) -> None:
    seen = [NOW - age_s, NOW - 0.5]
    assert overdue_share(seen, PARAMS, NOW) == pytest.approx(share)


def test_room_is_shared_by_weight_and_what_is_left_goes_to_all() -> None:
    shares = {"a": 3.0, "b": 1.0}
    assert share_fairly({"a": 90.0, "b": 90.0}, 40.0, shares) == {"b": 10.0, "a": 30.0}
    assert share_fairly({"a": 1.0}, 1.5, {}) == {"a": 1.5}, "half a request is left, and given"
    assert share_fairly({"a": 5.0, "b": 90.0}, 40.0, shares) == {"a": 5.0, "b": 35.0}
    assert share_fairly({"a": 10.0, "b": 10.0}, 40.0, shares) == {"a": 25.0, "b": 15.0}
    assert share_fairly({"a": 10.0, "b": 10.0}, 20.0, {}) == {"a": 10.0, "b": 10.0}
    assert share_fairly({}, 40.0, {}) == {}
    nothing = share_fairly({"a": 10.0, "b": 10.0}, 10.0, {"a": 0.0})
    assert nothing["b"] == pytest.approx(10.0, abs=1e-4)
    tiny = share_fairly({"a": 10.0, "b": 10.0}, 10.0, {"a": 1e-6, "b": 1.0})
    assert tiny["a"] == pytest.approx(1e-5, rel=1e-3)


def cutoff(
    waiting: list[Queued], room: float, params: AdmissionParams = PARAMS, **more: float
) -> Cutoff:
    return decide_cutoffs(waiting, room, params, NOW, **more).for_key("")  # type: ignore[arg-type]


def test_of_those_on_time_the_first_in_turn_fit_the_room() -> None:
    waiting = queue(9, 5, 1)
    turn = NOW + 5.0  # all are of the typical cost: half of the target later
    assert cutoff(waiting, 0.0) == Cutoff(
        admit_before=NEVER, overdue_admit_before=ALWAYS, typical_cost=10.0
    )
    assert cutoff(waiting, 10.0).admit_before == turn - 9
    assert cutoff(waiting, 10.1).admit_before == turn - 5  # a part of it is room enough
    assert cutoff(waiting, 20.0).admit_before == turn - 5
    assert cutoff(waiting, 30.0).admit_before == ALWAYS
    assert cutoff(waiting, 30.0 - 1e-7).admit_before == ALWAYS  # sums are rounded
    assert cutoff(waiting, 29.9).admit_before == turn - 1
    assert cutoff(waiting, 10.0).hold_share == 0.0  # nobody is overdue


def test_the_overdue_have_a_share_and_what_those_on_time_leave() -> None:
    waiting = queue(160, 150, 5)
    kept = 0.3
    seen = cutoff(waiting, 100.0)
    assert (seen.admit_before, seen.overdue_admit_before) == (ALWAYS, ALWAYS)
    assert seen.hold_share == 0.0  # there is room for all
    short = cutoff(waiting, 20.0)
    assert short.hold_share == pytest.approx(kept)
    assert short.overdue_admit_before == NOW - 160
    assert short.admit_before == ALWAYS
    dither = math.floor(NOW) * 0.6180339887498949 % 1.0
    assert dither == pytest.approx(0.652, abs=1e-3)
    # Room 20: 14 for those on time, of which 4 are left over; with the 6 that is one whole one.
    assert cutoff(waiting, 19.0).overdue_admit_before == NOW - 160
    assert cutoff(waiting, 16.0).overdue_admit_before == NEVER  # 6 of 10 are less than the dither
    assert cutoff(waiting, 16.7).overdue_admit_before == NOW - 160


def test_first_come_first_served_where_the_owner_says_so() -> None:
    seen = cutoff(queue(160, 9, 5), 15.0, FIFO)
    assert (seen.admit_before, seen.overdue_admit_before) == (NOW - 9, NOW - 9)
    assert (seen.hold_share, seen.typical_cost) == (0.0, 0.0)


def test_no_room_is_kept_for_who_cannot_ask_in_time() -> None:
    waiting = queue(9, 5)
    assert cutoff(waiting, 10.0, ask_again_s=0.5).admit_before == NOW + 5.0 - 9
    assert cutoff(waiting, 10.0, ask_again_s=1.5).admit_before == NOW + 5.0 - 5
    late = replace(PARAMS, target_queue_time=3.0)
    # Of a short target a third at the most.
    assert cutoff(queue(1.7), 0.0, late, ask_again_s=9.0).admit_before == NEVER
    assert cutoff(queue(2.1), 0.0, late, ask_again_s=9.0).admit_before == ALWAYS


def test_of_hundreds_of_keys_some_go_at_each_moment() -> None:
    """Each has a twentieth of a request's room: a twentieth of them goes, and each in its turn."""
    keys = [f"key {n}" for n in range(400)]
    waiting = [one for key in keys for one in queue(60, 50, key_id=key)]
    went: Counter[str] = Counter()
    for second in range(200):
        seen = decide_cutoffs(waiting, 400 * 0.5, PARAMS, NOW + second)
        now_in_turn = [k for k in keys if seen.for_key(k).overdue_admit_before != NEVER]
        assert 18 <= len(now_in_turn) <= 22
        went.update(now_in_turn)
    assert set(went) == set(keys)
    assert max(went.values()) <= 2 * min(went.values())


def test_each_key_has_its_own_cutoff() -> None:
    waiting = [*queue(9, 5, 1, key_id="a"), *queue(4, key_id="b")]
    seen = decide_cutoffs(waiting, 20.0, PARAMS, NOW)
    assert seen.for_key("a").admit_before == NOW + 5.0 - 9
    assert seen.for_key("b").admit_before == ALWAYS
    weighed = decide_cutoffs(waiting, 20.0, PARAMS, NOW, shares={"a": 9.0})
    assert weighed.for_key("a").admit_before == NOW + 5.0 - 5
