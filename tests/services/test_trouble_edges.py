"""When a trouble of a round begins to be one, when it ends, and its words: both sides of bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from chalicelib.core.fleet.breakers import Reputation, TemplateRecord
from chalicelib.core.fleet.inventory import doubted
from chalicelib.core.fleet.pacing import Pacing
from chalicelib.core.fleet.set_aside import Failure, autogroup_key
from chalicelib.core.fleet.troubles import LastingTrouble, Trouble, TroubleKind
from chalicelib.core.model.load import WaitingRequest
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.money.account import Account
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.core.scaling.snapshot import PendingRental
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.services.rounds.acting import SPEND_RATE_LIMIT
from chalicelib.services.rounds.journal.troubles import (
    DOUBT_WORDS,
    LONG_DOUBT_WORDS,
    RETRY_NOTICE_S,
    find_troubles,
    tell_troubles,
)
from chalicelib.services.rounds.round import plan_round
from chalicelib.services.rounds.values import GroupPlan, RoundPlan
from tests.faults.stories import serving_world, take_lease

K = TroubleKind


@pytest.fixture
def plan() -> RoundPlan:
    """Of a round of a group with one worker that serves, and nothing wrong."""
    world, _ = serving_world(1)
    _, account = take_lease(world)
    market = PacedMarket(world.marketplace, world.clock, Pacing({}), waits_until=world.now)
    plan = plan_round(world.ports, market, account, world.now)
    assert find_troubles(plan) == []
    return plan


def messages(plan: RoundPlan) -> dict[str, str]:
    return {trouble.kind: trouble.message for trouble in find_troubles(plan)}


def before(plan: RoundPlan, kind: TroubleKind, scope: str) -> RoundPlan:
    """The plan of a round before which this trouble was told."""
    since = plan.view.now - 60.0
    told = LastingTrouble(kind=kind, scope=scope, since=since, message="as before", is_told=True)
    memory = replace(plan.view.memory, troubles={f"{kind}|{scope}": told})
    return replace(plan, view=replace(plan.view, memory=memory))


def with_group(plan: RoundPlan, group: GroupPlan) -> RoundPlan:
    return replace(plan, groups=(group,))


def scope_of(plan: RoundPlan) -> str:
    return f"endpoint:{plan.groups[0].snapshot.group.endpoint_id}"


@pytest.mark.parametrize(("ago_s", "is_told"), [(0.0, True), (600.0, True), (600.5, False)])
def test_refusals_are_told_for_ten_minutes_after_the_last(
    plan: RoundPlan, ago_s: float, is_told: bool
) -> None:
    key = autogroup_key(plan.view.autogroups[0].autogroup_id)
    failure = Failure(n=3, at=plan.view.now - ago_s, until=plan.view.now, problem="too few disks")
    memory = replace(plan.view.memory, failures={key: failure})
    found = messages(replace(plan, view=replace(plan.view, memory=memory)))
    assert (K.OFFERS_REFUSED in found) is is_told
    assert "; Vast said: too few disks" in found.get(K.OFFERS_REFUSED, "; Vast said: too few disks")


@pytest.mark.parametrize(("ago_s", "words"), [(0.0, DOUBT_WORDS), (3600.0, LONG_DOUBT_WORDS)])
def test_a_doubt_says_whether_renting_goes_on(plan: RoundPlan, ago_s: float, words: str) -> None:
    inventory = doubted(plan.view.inventory, "a short page", plan.view.now - ago_s)
    doubt = replace(plan, view=replace(plan.view, inventory=inventory))
    assert words in messages(doubt)[K.INVENTORY_UNKNOWN]


@pytest.mark.parametrize(
    ("code", "was_told", "is_told"),
    [
        (ReasonCode.CAP_USD, False, True),
        (ReasonCode.NO_OFFERS, False, False),
        (ReasonCode.NO_OFFERS, True, True),
        (ReasonCode.CONTRACT_ENDS, True, False),
    ],
)
def test_a_cap_that_was_told_goes_on_while_no_offer_is_seen(
    plan: RoundPlan, code: ReasonCode, was_told: bool, is_told: bool
) -> None:
    (group,) = plan.groups
    caps = replace(group.snapshot.caps, bound_by="cap_hour")
    decision = replace(group.decision, notes=(Reason(code=code),))
    group = replace(group, snapshot=replace(group.snapshot, caps=caps), decision=decision)
    capped = with_group(plan, group)
    if was_told:
        capped = before(capped, K.CAP_REACHED, scope_of(plan))
    assert (K.CAP_REACHED in messages(capped)) is is_told


def test_a_cap_says_in_dollars_what_is_in_use(plan: RoundPlan) -> None:
    (group,) = plan.groups
    endpoint_id = group.snapshot.group.endpoint_id
    caps = replace(group.snapshot.caps, why_not="cap_hour")
    account: Account = replace(
        plan.account,
        caps_microusd_per_hour=2_500_000,
        committed_by_group={endpoint_id: 1_250_000},
    )
    group = replace(group, snapshot=replace(group.snapshot, caps=caps))
    text = messages(replace(with_group(plan, group), account=account))[K.CAP_REACHED]
    assert "; $1.25 of $2.50 is in use" in text


def test_a_freeze_above_a_cap_says_what_goes_on_being_spent(plan: RoundPlan) -> None:
    (group,) = plan.groups
    frozen = replace(group.snapshot.group, frozen=True)
    caps = replace(group.snapshot.caps, exceeded="cap_hour")
    group = replace(group, snapshot=replace(group.snapshot, group=frozen, caps=caps))
    account = replace(plan.account, committed_by_group={frozen.endpoint_id: 1_250_000})
    (found,) = find_troubles(replace(with_group(plan, group), account=account))
    assert found.kind is K.FROZEN_ABOVE_CAP
    assert "up to $1.25 an hour goes on being spent" in found.message
    assert found.facts == {"cap": "cap_hour", "usd_per_hour": 1.25}


@pytest.mark.parametrize(("cap", "is_told"), [("cap_hour", True), ("max_workers", False)])
def test_a_cap_of_money_that_the_guard_met_is_told(
    plan: RoundPlan, cap: str, is_told: bool
) -> None:
    endpoint_id = plan.groups[0].snapshot.group.endpoint_id
    memory = replace(plan.view.memory, guarded={str(endpoint_id): (cap, plan.view.now)})
    found = messages(replace(plan, view=replace(plan.view, memory=memory)))
    assert (K.CAP_REACHED in found) is is_told


@pytest.mark.parametrize(
    ("refusal", "words"), [(SPEND_RATE_LIMIT, "spend_rate_limit"), ("", "pay in at Vast")]
)
def test_why_vast_rents_the_account_nothing_is_told(
    plan: RoundPlan, refusal: str, words: str
) -> None:
    memory = replace(plan.memory, credit_retry_at=plan.view.now + 60.0, credit_refusal=refusal)
    assert words in messages(replace(plan, memory=memory))[K.NO_CREDIT]


def test_a_cap_says_what_the_cheapest_offer_needed_when_one_was_last_seen(plan: RoundPlan) -> None:
    (group,) = plan.groups
    caps = replace(group.snapshot.caps, why_not="cap_hour")
    group = replace(group, snapshot=replace(group.snapshot, caps=caps, offers={}))
    capped = before(with_group(plan, group), K.CAP_REACHED, scope_of(plan))
    assert "cheapest offer" not in messages(capped)[K.CAP_REACHED]
    (known,) = capped.view.memory.troubles.values()
    priced = replace(known, facts={"cheapest_usd_per_hour": 0.55})
    memory = replace(capped.view.memory, troubles={f"{K.CAP_REACHED}|{scope_of(plan)}": priced})
    told = messages(replace(capped, view=replace(capped.view, memory=memory)))[K.CAP_REACHED]
    assert "the cheapest offer needs $0.55 an hour" in told


def waits(plan: RoundPlan, state: WorkerState, for_s: float, *, asked_s: float = 60.0) -> RoundPlan:
    """Clients wait, and the group's only machine has been in this state for so long."""
    (group,) = plan.groups
    endpoint_id, now = group.snapshot.group.endpoint_id, plan.view.now
    request = WaitingRequest(
        endpoint_id=endpoint_id,
        request_idx=1,
        cost=1.0,
        first_seen_at=now - asked_s,
        last_polled_at=now,
    )
    plan = replace(plan, view=replace(plan.view, waiting={endpoint_id: [request]}))
    waiting = replace(group.snapshot.waiting, n=2, n_overdue=2)
    group = replace(group, snapshot=replace(group.snapshot, waiting=waiting))
    workers = tuple(
        replace(worker, state=state, state_since=plan.view.now - for_s) for worker in plan.workers
    )
    return replace(with_group(plan, group), workers=workers)


@pytest.mark.parametrize(
    ("state", "for_s", "is_told"),
    [
        (WorkerState.LOADING, 899.5, False),
        (WorkerState.LOADING, 900.0, True),
        (WorkerState.READY, 10.0, True),
    ],
)
def test_a_machine_on_its_way_explains_a_wait_for_fifteen_minutes(
    plan: RoundPlan, state: WorkerState, for_s: float, is_told: bool
) -> None:
    assert (K.REQUESTS_WAIT in messages(waits(plan, state, for_s))) is is_told


@pytest.mark.parametrize(("asked_s", "is_told"), [(779.5, False), (780.0, True)])
def test_the_next_machine_on_its_way_explains_no_wait_of_a_quarter_of_an_hour(
    plan: RoundPlan, asked_s: float, is_told: bool
) -> None:
    """It matters two minutes later."""
    found = messages(waits(plan, WorkerState.LOADING, 10.0, asked_s=asked_s))
    assert (K.REQUESTS_WAIT in found) is is_told
    assert "takes long" in found.get(K.REQUESTS_WAIT, "takes long")


def test_a_rental_whose_machine_is_not_known_yet_explains_a_wait(plan: RoundPlan) -> None:
    late = waits(plan, WorkerState.READY, 10.0)
    (group,) = late.groups
    rental = PendingRental(autogroup_id=1, gpu_type="1x L40S", usd_per_hour=1.0, begun_at=1.0)
    rented = replace(group, snapshot=replace(group.snapshot, rentals=(rental,)))
    assert K.REQUESTS_WAIT not in messages(with_group(late, rented))


def test_a_wait_that_began_and_was_not_told_yet_is_explained_by_a_machine_on_its_way(
    plan: RoundPlan,
) -> None:
    """The round that rents the first machine finds nothing on its way: no cold start is told."""
    coming = before(waits(plan, WorkerState.LOADING, 10.0), K.REQUESTS_WAIT, scope_of(plan))
    (known,) = coming.view.memory.troubles.values()
    memory = replace(
        coming.view.memory,
        troubles={f"{K.REQUESTS_WAIT}|{scope_of(plan)}": replace(known, is_told=False)},
    )
    untold = replace(coming, view=replace(coming.view, memory=memory))
    assert K.REQUESTS_WAIT not in messages(untold)


def test_an_open_breaker_explains_a_wait_and_is_the_one_trouble(plan: RoundPlan) -> None:
    key = str(plan.view.autogroups[0].autogroup_id)
    record = TemplateRecord(n_openings=1, last_error="stuck_loading; Vast says created: no image")
    memory = replace(plan.memory, reputation=Reputation(templates={key: record}))
    found = messages(replace(waits(plan, WorkerState.READY, 10.0), memory=memory))
    assert set(found) == {K.BREAKER_OPEN}
    assert "; last error: stuck_loading; Vast says created: no image; " in found[K.BREAKER_OPEN]


def test_a_wait_that_was_told_is_not_explained_by_the_next_machine_on_its_way(
    plan: RoundPlan,
) -> None:
    coming = before(waits(plan, WorkerState.LOADING, 10.0), K.REQUESTS_WAIT, scope_of(plan))
    assert K.REQUESTS_WAIT in messages(coming)


def reminded(at_s: float, last_s: float, known: Mapping[str, LastingTrouble]) -> bool:
    trouble = Trouble(kind=K.PANIC, scope="account", message="panic")
    return bool(tell_troubles(known, [trouble], last_s, at_s).reminders)


def test_notifiers_get_another_chance_each_five_minutes_from_the_first_on() -> None:
    began = 1_800_000_040.0  # no multiple of the five minutes
    one = LastingTrouble(kind=K.PANIC, scope="account", since=began, message="panic", is_told=True)
    known = {"panic|account": one}
    for n in (1, 2, 4):
        due = began + n * RETRY_NOTICE_S
        assert reminded(due, due - 1.0, known)
        assert not reminded(due - 1.0, due - 2.0, known)
        assert not reminded(due + 1.0, due, known)
    assert not reminded(began + 5 * RETRY_NOTICE_S, began + 5 * RETRY_NOTICE_S - 1.0, known)
