"""A clock that was wrong once: what it stored is taken for what it can mean."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.fleet.pacing import Verb, turn_at
from chalicelib.core.model.lifecycle import TELL_EVERY_S, TOLD_AT_ONCE, moments_corrected
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.moments import CLOCK_SLIP_S, rebased
from chalicelib.core.money.account import Account, roll_over, with_lease, with_turns
from chalicelib.core.scaling.round_memory import RoundMemory

NOW = 1_800_000_000.0
DAYS_40 = 40 * 86_400.0


def test_a_memory_of_a_wrong_clock_is_moved_as_a_whole() -> None:
    wrote_at = NOW + DAYS_40
    memory = RoundMemory(
        at=wrote_at,
        credit_retry_at=wrote_at + 300.0,
        searched={"1": wrote_at - 20.0, "2": NOW - 50.0},
        groups={"7": {"hold_until": wrote_at + 60.0, "load": 12.5, "flag": True}},
    )
    moved = memory.as_of(NOW)
    assert moved.at == NOW
    assert moved.credit_retry_at == NOW + 300.0
    assert moved.searched == {"1": NOW, "2": NOW - 50.0}
    assert moved.groups == {"7": {"hold_until": NOW + 60.0, "load": 12.5, "flag": True}}


def test_a_little_slip_is_no_wrong_clock() -> None:
    memory = RoundMemory(at=NOW + CLOCK_SLIP_S, credit_retry_at=NOW + 900.0)
    assert memory.as_of(NOW) is memory


def test_only_what_can_be_a_moment_of_that_clock_is_moved() -> None:
    wrote_at = NOW + 1000.0
    plain = {"past": NOW - 1.0, "far": wrote_at + 2 * DAYS_40, "n": 5, "text": "x", "no": False}
    assert rebased(plain, wrote_at, NOW) == plain


def test_a_row_of_a_wrong_clock_ages_from_now_on() -> None:
    ahead = NOW + DAYS_40
    row = Worker(
        endpoint_id=1,
        instance_id=2,
        autogroup_id=3,
        created_at=NOW - 100.0,
        state=WorkerState.DRAINING,
        state_since=ahead,
        drain_by=ahead + 120.0,
        reported_at=ahead,
        told_until=ahead,
        granted_marks=((NOW - 5.0, 1.0), (ahead, 2.0)),
    )
    changes = moments_corrected(row, NOW)
    assert changes == {
        "state_since": NOW,
        "reported_at": NOW,
        "told_until": NOW,
        "drain_by": NOW + 120.0,
        "granted_marks": ((NOW - 5.0, 1.0),),
    }
    assert moments_corrected(replace(row, **changes), NOW) == {}  # type: ignore[arg-type]


def test_a_budget_that_is_used_up_lies_ahead_of_a_right_clock() -> None:
    row = Worker(endpoint_id=1, instance_id=2, autogroup_id=3, created_at=NOW - 9.0,
                 state=WorkerState.READY, state_since=NOW - 5.0,
                 told_until=NOW + (TOLD_AT_ONCE + 1) * TELL_EVERY_S)  # fmt: skip
    assert moments_corrected(row, NOW) == {}


def test_a_rental_of_a_wrong_clock_is_settled_as_any_other() -> None:
    intent = RentIntent(
        token="t",
        endpoint_id=7,
        autogroup_id=8,
        state=IntentState.MAYBE_RENTED,
        planned_at=NOW + DAYS_40,
        offer_id=2,
        machine_id=3,
        gpu_name="RTX 4090",
        num_gpus=1,
        usd_per_hour=0.5,
        reserved_microusd_per_hour=600_000,
        attempt_ended_at=NOW + DAYS_40,
    )
    seen = intent.as_of(NOW)
    assert (seen.planned_at, seen.attempt_ended_at, seen.settled_at) == (NOW, NOW, None)
    assert seen.as_of(NOW) == seen


def test_a_lease_that_ends_beyond_any_lease_is_none() -> None:
    held = Account(lease_until=NOW + 30.0, lease_owner="a")
    assert with_lease(held, "b", NOW, 60.0) is None
    assert with_lease(replace(held, lease_until=NOW + DAYS_40), "b", NOW, 60.0) is not None


def test_turns_wait_no_longer_than_their_verb_may() -> None:
    for verb, longest_s in ((Verb.LIST, 901.0), (Verb.CREATE, 901.0), (Verb.SEARCH, 87_500.0)):
        key = verb.value
        for ahead_s in (3_600.0, 86_400.0, DAYS_40):
            assert turn_at({key: NOW + ahead_s}, key, NOW) - NOW <= longest_s
        later = with_turns(Account(next_call_at={key: NOW + DAYS_40}), {key: NOW + 5.0})
        assert later.next_call_at[key] == NOW + 5.0
    assert turn_at({"list": NOW + 20.0}, "list", NOW) == NOW + 20.0


def test_back_from_a_day_yet_to_come_what_was_spent_still_counts() -> None:
    ahead = Account(day="2027-02-24", month="2027-02", spent_today_by_group={7: 5})
    back = roll_over(ahead, NOW)
    assert (back.day, back.month, back.spent_today_by_group) == ("2027-01-15", "2027-01", {7: 5})
    assert roll_over(back, NOW + 86_400.0).spent_today_by_group == {}
