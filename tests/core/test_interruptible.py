"""Interruptible machines: odds that are learned, what they are worth, who may serve, who leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.intents import IntentState, RentIntent, label_for
from chalicelib.core.fleet.inventory import Inventory
from chalicelib.core.fleet.observation import observe
from chalicelib.core.fleet.reconcile import Books, reconcile
from chalicelib.core.fleet.set_aside import bid_start_key
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, Interruptible, ScalingParams
from chalicelib.core.model.lifecycle import WorkerEvent, next_state, transition
from chalicelib.core.model.market import InstanceListing, InstanceRecord, Offer
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.bookkeeping import billed_seconds, cost_of
from chalicelib.core.scaling.actions import ChangeBid, DestroyWorker, DrainWorker, StartWorker
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.learning import Beliefs
from chalicelib.core.scaling.memory import LEVELS, ScalingMemory
from chalicelib.core.scaling.moves.interruptible import (
    candidates_of,
    paused_limit_s,
    plan_bid_returns,
    plan_bids,
    room_for_bids,
)
from chalicelib.core.scaling.moves.leaving import choose_leaving, wind_down
from chalicelib.core.scaling.moves.pools import Pool, Round, sort_into_pools
from chalicelib.core.scaling.snapshot import GroupSnapshot, Waiting, WorkerFacts
from tests.core.bid_scenes import DOWN, HERE, NOW, UP, facts, on_demand

# Lives.


@pytest.mark.parametrize(
    "state", ["ready", "draining", "starting", "loading", "suspect", "creating"]
)
def test_a_machine_that_is_outbid_is_paused_and_serves_nobody(state: str) -> None:
    assert next_state(WorkerState(state), WorkerEvent.OUTBID, was_loaded=True) is DOWN


def worker(state: WorkerState = UP, **changes: object) -> Worker:
    values: dict[str, object] = {
        "endpoint_id": 1,
        "instance_id": 7,
        "autogroup_id": 1,
        "created_at": NOW - 5_000,
        "state": state,
        "state_since": NOW - 4_000,
        "started_at": NOW - 4_000,
        "loaded_at": NOW - 4_000,
        "usd_per_hour": 0.31,
        "storage_usd_per_hour": 0.01,
        "is_bid": True,
        "bid_usd_per_hour": 0.3,
    }
    return Worker(**{**values, **changes})  # type: ignore[arg-type]


def record(intended: str, actual: str | None, current: str = "running") -> InstanceRecord:
    return InstanceRecord(
        instance_id=7,
        label="x",
        actual_status=actual,
        intended_status=intended,
        cur_state=current,
        usd_per_hour=0.31,
        storage_usd_per_hour=0.01,
        is_bid=True,
        bid_usd_per_hour=0.3,
    )


def state_after(row: Worker, seen: InstanceRecord, listed_at: float = NOW - 1) -> WorkerState:
    changes = observe(row, seen, listed_at=listed_at, now=NOW).changes
    return WorkerState(str(changes.get("state", row.state)))


@pytest.mark.parametrize(
    ("intended", "actual", "current"),
    [
        ("stopped", "running", "running"),  # bid-outbid-1-s
        ("stopped", "exited", "stopped"),  # bid-outbid-12-s
        ("stopped", "stopped", "stopped"),
        ("running", "stopped", "running"),  # bid-row-as-docs-imply
        ("running", "exited", "running"),
        ("running", "offline", "running"),
    ],
)
def test_each_way_in_which_a_lost_bid_may_look_is_one(
    intended: str, actual: str, current: str
) -> None:
    assert state_after(worker(), record(intended, actual, current)) is DOWN


def test_a_stop_of_our_own_is_no_loss() -> None:
    seen = record("stopped", "exited", "stopped")
    assert state_after(worker(WorkerState.STOPPING), seen) is WorkerState.STOPPED
    assert state_after(worker(WorkerState.STOPPED), seen) is WorkerState.STOPPED


def test_a_listing_from_before_the_start_takes_nothing_away() -> None:
    row = worker(started_at=NOW - 30, state_since=NOW - 30)
    assert state_after(row, record("stopped", "exited", "stopped")) is UP
    starting = worker(WorkerState.STARTING, state_since=NOW - 30)
    assert state_after(starting, record("stopped", "exited", "stopped")) is WorkerState.STARTING


@pytest.mark.parametrize(("intended", "actual"), [("running", "exited"), ("running", "running")])
def test_it_comes_back_as_it_is_seen_to_boot(intended: str, actual: str) -> None:
    assert state_after(worker(DOWN), record(intended, actual)) is WorkerState.STARTING


def test_a_refused_start_is_a_lost_bid_and_no_fault_of_the_host() -> None:
    changes = transition(worker(WorkerState.STARTING), WorkerEvent.START_REFUSED, NOW)
    assert changes["state"] is DOWN
    assert "n_start_refusals" not in changes or changes["n_start_refusals"] == 1
    own = transition(worker(WorkerState.STARTING, is_bid=False), WorkerEvent.START_REFUSED, NOW)
    assert own["state"] is WorkerState.UNAVAILABLE


def test_an_outbid_rental_that_is_found_is_adopted_and_not_returned() -> None:
    token = "0123456789abcdefABCDEFGH"
    intent = RentIntent(
        token=token, endpoint_id=1, autogroup_id=1, state=IntentState.MAYBE_RENTED,
        planned_at=NOW - 500, attempt_ended_at=NOW - 400, offer_id=1, machine_id=1,
        gpu_name="RTX 4090", num_gpus=1,
        usd_per_hour=0.31, reserved_microusd_per_hour=310_000, is_bid=True, bid_usd_per_hour=0.3,
    )  # fmt: skip
    group = EndpointGroup(endpoint_id=1, name="g", created_at=0.0)
    seen = replace(record("stopped", "exited", "stopped"), label=label_for("g", token))
    listing = InstanceListing(started_at=NOW - 2, ended_at=NOW, is_complete=True, instances=(seen,))
    books = Books(
        groups=[group], autogroups=[], workers=[], intents=[intent], is_our_token=lambda _: True
    )
    found = reconcile(books, listing, Inventory(is_known=True), NOW)
    (row,) = found.new_rows
    assert (row.why, row.worker.state, row.worker.is_bid) == ("adopted", DOWN, True)


def test_an_outbid_machine_is_billed_its_disk_and_committed_as_running() -> None:
    row = worker(DOWN, state_since=NOW - 600)
    assert billed_seconds(row, NOW - 1000, NOW) == (400.0, 600.0)
    assert cost_of(row, None).worst_microusd_per_hour == 310_000


def test_at_a_cap_an_outbid_machine_goes_since_it_would_come_back() -> None:
    (action,) = wind_down([worker(DOWN)], "cap_day", None)
    assert isinstance(action, DestroyWorker)


# Decisions.


def group(**params: object) -> EndpointGroup:
    values = {"interruptible": Interruptible.MIXED, "max_workers": 40, "cold_workers": 0, **params}
    return EndpointGroup(
        endpoint_id=1,
        name="g",
        created_at=0.0,
        params=ScalingParams(**values),  # type: ignore[arg-type]
    )


AUTOGROUP = Autogroup(autogroup_id=1, endpoint_id=1, created_at=0.0, test_workers=0)


def bid_offer(number: int, place: str = "SE", usd: float = 0.3) -> Offer:
    return Offer(
        offer_id=number,
        machine_id=500 + number,
        host_id=number,
        gpu_name="RTX 4090",
        num_gpus=1,
        gpu_ram_gb=24.0,
        usd_per_hour=usd + 0.01,
        storage_usd_per_hour=0.01,
        dlperf=100.0,
        geolocation=place,
        is_bid=True,
        bid_usd_per_hour=usd,
    )


def known_memory(share: float = 1.0) -> ScalingMemory:
    """A group of which five typical workers were wanted that share of the time."""
    usage = [share if level < 5.0 else 0.0 for level in LEVELS]
    return ScalingMemory(
        at=NOW - 5, worker_perf=100.0, worker_slots=8.0, mean_load=200.0, usage=usage,
        usage_s=80_000.0, explored={"1": NOW - 50_000},
    )  # fmt: skip


def scene(
    workers: list[WorkerFacts], offers: list[Offer], memory: ScalingMemory, **params: object
) -> tuple[Pool, Round]:
    snapshot = GroupSnapshot(
        group=group(**params),
        autogroups=(AUTOGROUP,),
        workers=tuple(workers),
        offers={1: tuple(offers)},
    )
    (pool,), _ = sort_into_pools(snapshot, workers, NOW)
    return pool, Round(snapshot, Beliefs(memory), NOW)


def test_bids_come_on_top_where_they_save_and_are_spread_over_places() -> None:
    fleet = [on_demand(n) for n in range(1, 7)]
    offers = [bid_offer(n, "SE" if n < 6 else "US") for n in range(1, 11)]
    pool, ctx = scene(fleet, offers, known_memory())
    rentals = plan_bids(pool, ctx, 10)
    assert len(rentals) == 4
    assert sorted(r.offer.geolocation for r in rentals) == ["SE", "SE", "US", "US"]
    assert all(r.offer.is_bid and r.reason.code == "bid" for r in rentals)


def test_bids_that_cost_as_much_as_on_demand_are_not_taken() -> None:
    fleet = [on_demand(n) for n in range(1, 7)]
    pool, ctx = scene(fleet, [bid_offer(1, usd=0.62)], known_memory())
    assert plan_bids(pool, ctx, 10) == []


@pytest.mark.parametrize(("usd", "is_taken"), [(0.30, False), (0.33, False), (0.60, True)])
def test_no_more_is_bid_than_the_same_machine_costs_on_demand(usd: float, is_taken: bool) -> None:
    fleet = [on_demand(n, usd_per_hour=0.9) for n in range(1, 7)]
    offer = replace(bid_offer(1), on_demand_usd_per_hour=usd)  # 0.31 with its disk
    pool, ctx = scene(fleet, [offer], known_memory())
    assert bool(plan_bids(pool, ctx, 10)) is is_taken
    for candidate in candidates_of(pool, ctx):
        assert candidate.item.offer.usd_per_hour < usd


@pytest.mark.parametrize(("usd", "is_raised"), [(0.38, False), (0.60, True)])
def test_no_bid_is_raised_to_what_the_same_machine_costs_on_demand(
    usd: float, is_raised: bool
) -> None:
    fleet = busy([on_demand(n) for n in range(1, 4)])
    outbid = facts(8, DOWN, state_since=NOW - 400, on_demand_usd_per_hour=usd)
    assert any(isinstance(a, ChangeBid) for a in plan([*fleet, outbid])) is is_raised


def test_a_machine_that_we_hold_is_not_bid_for_again() -> None:
    held = facts(1, machine_id=501)
    pool, ctx = scene([held, on_demand(2)], [bid_offer(1), bid_offer(2)], known_memory())
    assert {c.item.offer.offer_id for c in candidates_of(pool, ctx)} == {2}


def test_more_is_bid_where_machines_are_often_taken_and_that_helps() -> None:
    memory = known_memory()
    memory.bid_odds = {
        "*": [36_000.0, 40.0, 40.0, 36_000.0, 40.0],
        f"p:{HERE}": [36_000.0, 40.0, 40.0, 36_000.0, 40.0],
        "b:2": [1.0, 40.0, 0.0, 0.0, 0.0],
    }
    pool, ctx = scene([on_demand(1)], [bid_offer(1)], memory)
    (candidate,) = candidates_of(pool, ctx)
    assert candidate.item.offer.bid_margin == 1.6
    assert candidate.item.offer.bid_usd_per_hour == pytest.approx(0.48)
    assert candidate.item.offer.usd_per_hour == pytest.approx(0.49)


@pytest.mark.parametrize(
    ("mode", "share", "room"),
    [
        ("never", 1.0, 0.0),
        ("mixed", 0.5, 500.0),
        ("overflow", 1.0, 534.3),
        ("overflow", 0.3, 300.0),
    ],
)
def test_the_room_for_what_may_vanish_at_once(mode: str, share: float, room: float) -> None:
    pool, ctx = scene(
        [], [], known_memory(), interruptible=Interruptible(mode), interruptible_share=share
    )
    assert room_for_bids(pool, 1_000.0, ctx) == pytest.approx(room, abs=0.1)


def busy(workers: list[WorkerFacts]) -> list[WorkerFacts]:
    return [replace(w, n_working=8, pending_load=8.0) if w.state is UP else w for w in workers]


def plan(workers: list[WorkerFacts], **params: object) -> tuple[object, ...]:
    snapshot = GroupSnapshot(group=group(**params), autogroups=(AUTOGROUP,), workers=tuple(workers))
    return decide_scaling(snapshot, known_memory().to_json(), NOW).actions


def test_never_more_than_the_share_serves_at_a_bid() -> None:
    fleet = busy([facts(n) for n in range(1, 5)])
    cold = [on_demand(n, WorkerState.STOPPED) for n in range(11, 17)]
    started = [a for a in plan([*fleet, *cold], interruptible_share=0.5)]
    assert {a.instance_id for a in started if isinstance(a, StartWorker)} <= set(range(11, 17))
    n_started = sum(isinstance(a, StartWorker) for a in started)
    assert n_started >= 2
    assert not any(isinstance(a, DrainWorker) for a in started)  # not before others are up


def test_what_is_beyond_the_share_drains_once_others_serve() -> None:
    fleet = [*(facts(n) for n in range(1, 5)), *(on_demand(n) for n in range(11, 17))]
    drained = {
        action.instance_id
        for action in plan(fleet, min_load=300.0, interruptible_share=0.4)
        if isinstance(action, DrainWorker) and action.reason.code == "interruptible_share"
    }
    assert drained == {2, 3, 4}


def test_a_cold_machine_at_a_bid_is_started_before_one_on_demand() -> None:
    cold = [facts(8, WorkerState.STOPPED), on_demand(9, WorkerState.STOPPED)]
    fleet = [on_demand(n) for n in range(1, 4)]
    started = [a for a in plan([*fleet, *cold], min_load=400.0) if isinstance(a, StartWorker)]
    assert [action.instance_id for action in started] == [8]


def test_what_is_outbid_is_kept_as_long_as_its_disk_costs_less_than_a_load() -> None:
    row = facts(1, DOWN, state_since=NOW - 600)
    pool, ctx = scene([row], [], known_memory())
    limit_s = paused_limit_s(row, ctx)
    assert limit_s == pytest.approx(0.31 * 300 / 0.01, rel=0.05)
    assert plan_bid_returns(pool, ctx, is_room_needed=False) == []
    late = replace(row, state_since=NOW - limit_s - 1)
    pool, ctx = scene([late], [], known_memory())
    (action,) = plan_bid_returns(pool, ctx, is_room_needed=False)
    assert action.reason.code == "outbid_long"


def test_at_max_workers_a_machine_on_demand_goes_before_one_at_a_bid() -> None:
    pool, ctx = scene([facts(1, WorkerState.STOPPED, state_since=NOW - 60)], [], known_memory())
    (action,) = plan_bid_returns(pool, ctx, is_room_needed=True)
    assert action.reason.code == "bid_makes_room"


def test_more_is_bid_for_what_was_outbid_only_while_that_is_worth_it() -> None:
    fleet = busy([on_demand(n) for n in range(1, 4)])
    raised = [
        a for a in plan([*fleet, facts(8, DOWN, state_since=NOW - 400)]) if isinstance(a, ChangeBid)
    ]
    assert [a.instance_id for a in raised] == [8]
    assert raised[0].bid_usd_per_hour == pytest.approx(0.375)
    dear = facts(8, DOWN, state_since=NOW - 400, usd_per_hour=0.61, bid_usd_per_hour=0.6)
    assert not any(isinstance(a, ChangeBid) for a in plan([*fleet, dear]))
    fresh = facts(8, DOWN, state_since=NOW - 60)
    assert not any(isinstance(a, ChangeBid) for a in plan([*fleet, fresh]))


def test_once_the_owner_wants_none_they_leave_as_others_cover_for_them() -> None:
    snapshot = GroupSnapshot(
        group=group(interruptible=Interruptible.NEVER),
        autogroups=(AUTOGROUP,),
        workers=(facts(1), on_demand(2)),
    )
    leaving = choose_leaving(snapshot, {}, NOW)
    assert {key: reason.code for key, reason in leaving.items()} == {1: "interruptible_off"}
    own = replace(AUTOGROUP, interruptible=Interruptible.MIXED)
    assert choose_leaving(replace(snapshot, autogroups=(own,)), {}, NOW) == {}


def test_who_insists_on_a_worker_on_demand_gets_one_started() -> None:
    fleet = busy([facts(n) for n in range(1, 3)])
    cold = on_demand(9, WorkerState.STOPPED)
    snapshot = GroupSnapshot(
        group=group(min_load=100.0),
        autogroups=(AUTOGROUP,),
        workers=(*fleet, cold),
        waiting=Waiting(n=1, load=10.0, on_demand_load=10.0),
    )
    actions = decide_scaling(snapshot, known_memory().to_json(), NOW).actions
    started = [a for a in actions if isinstance(a, StartWorker)]
    assert [(a.instance_id, a.reason.code) for a in started] == [(9, "insisted")]


def test_a_raise_that_was_refused_waits_its_time_and_the_next_machine_has_its_turn() -> None:
    fleet = busy([on_demand(n) for n in range(1, 4)])
    outbid = [facts(n, DOWN, state_since=NOW - 400) for n in (8, 9)]
    for set_aside, first in (({}, [8]), ({bid_start_key(8): NOW + 1.0}, [9])):
        snapshot = GroupSnapshot(
            group=group(),
            autogroups=(AUTOGROUP,),
            workers=(*fleet, *outbid),
            set_aside=set_aside,
        )
        actions = decide_scaling(snapshot, known_memory().to_json(), NOW).actions
        assert [a.instance_id for a in actions if isinstance(a, ChangeBid)] == first


@pytest.mark.parametrize(
    ("n_refusals", "is_started"), [(0, False), (1, True), (3, True), (4, False)]
)
def test_what_was_raised_and_not_started_is_started_a_few_times(
    n_refusals: int, is_started: bool
) -> None:
    fleet = busy([on_demand(n, usd_per_hour=0.9) for n in range(1, 4)])
    outbid = facts(8, DOWN, state_since=NOW - 200, bid_margin=1.6, n_start_refusals=n_refusals)
    starts = [a for a in plan([*fleet, outbid]) if isinstance(a, StartWorker)]
    assert [(a.instance_id, str(a.reason.code)) for a in starts] == (
        [(8, "bid_started")] if is_started else []
    )
