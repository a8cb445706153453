"""Interruptible machines through the days: taken in a burst, all at once, dearer, for long."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import Account
from fakes.worlds.world import World
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    params_of,
    rows_are_machines,
    run_rounds,
    set_group,
)

HOT = 300.0  # load per second that must be ready at any time: three workers


def run_minutes(world: World, n: int) -> None:
    run_rounds(world, n, every_s=60.0)


def ready(world: World, *, is_bid: bool | None = None) -> list[Worker]:
    return [
        row
        for row in world.workers.rows.values()
        if row.state is WorkerState.READY and is_bid in (None, row.is_bid)
    ]


def bidding_world(**params: object) -> tuple[World, int]:
    """A group that has found its interruptible machines: three of them serve.

    Played once for each test that begins so; each goes on with its own.
    """
    return deepcopy(_play_beginning(frozenset(params.items())))


@cache
def _play_beginning(params: frozenset[tuple[str, object]]) -> tuple[World, int]:
    world = World(seed=3)
    values = {"max_workers": 12, "interruptible": Interruptible.MIXED, **dict(params)}
    group = world.add_group("llm", cold_workers=1, min_load=HOT, **values)
    run_rounds(world, 12, every_s=5.0)
    run_minutes(world, 40)
    return world, group.endpoint_id


def test_they_are_rented_beside_the_others_and_halve_the_bill() -> None:
    world, endpoint_id = bidding_world()
    dear = World(seed=3)
    dear.add_group(cold_workers=1, min_load=HOT, max_workers=12)
    run_rounds(dear, 12, every_s=5.0)
    run_minutes(dear, 40)
    assert len(ready(world, is_bid=True)) == 3
    assert len(in_state(world, WorkerState.STOPPED)) >= 3  # who stands in for them
    bills = world.market.bill(world.now).usd_per_hour, dear.market.bill(dear.now).usd_per_hour
    assert bills[0] < 0.62 * bills[1]
    assert {r.endpoint_id for r in world.workers.rows.values()} == {endpoint_id}


def test_never_means_never() -> None:
    world, _ = bidding_world(interruptible=Interruptible.NEVER)
    assert not any(row.is_bid for row in world.workers.rows.values())
    assert not any(i.is_bid for i in world.market.instances.values())


def test_who_is_outbid_serves_nobody_after_one_listing_and_is_no_failed_host() -> None:
    world, _ = bidding_world()
    victim = ready(world, is_bid=True)[0].instance_id
    world.market.switch_on("outbid", world.now, instance_id=victim)
    run_rounds(world, 1)
    assert in_state(world, WorkerState.PAUSED) == [victim]
    run_minutes(world, 5)
    assert sum(row.perf for row in ready(world)) >= HOT * 0.9
    assert not any(e.kind in ("host_avoided", "breaker_open") for e in all_events(world))
    assert world.workers.rows[_key(world, victim)].n_start_refusals == 0


def take_all(world: World) -> None:
    """Renters on demand take every machine that can be had at a bid."""
    for country in {m.country for m in world.market.offers.machines.values()}:
        world.market.offers.bids.floors[country] = [(world.now, math.inf)]


def give_back(world: World) -> None:
    world.market.offers.bids.floors.clear()


def _key(world: World, instance_id: int) -> tuple[int, int]:
    return next(key for key in world.workers.rows if key[1] == instance_id)


def test_outbid_in_a_burst_clients_are_served_by_those_who_stand_in() -> None:
    world, endpoint_id = bidding_world()
    world.ask(endpoint_id, 40)
    take_all(world)
    run_rounds(world, 1, every_s=5.0)
    world.ask(endpoint_id, 40)
    run_rounds(world, 12, every_s=5.0)
    assert world.n_waiting == 0
    assert len(ready(world, is_bid=False)) >= 3
    assert not ready(world, is_bid=True)


def test_all_machines_of_a_type_at_once_then_they_come_back_by_themselves() -> None:
    world, _ = bidding_world()
    n_creates = count_calls(world, Verb.CREATE)
    take_all(world)
    run_rounds(world, 24, every_s=5.0)
    assert sum(row.perf for row in ready(world, is_bid=False)) >= HOT * 0.9
    give_back(world)
    run_minutes(world, 10)
    assert len(ready(world, is_bid=True)) >= 2
    assert len(ready(world, is_bid=False)) <= 1
    assert count_calls(world, Verb.CREATE) <= n_creates + 3


def test_bids_that_rise_through_a_day_are_followed_while_worth_it_and_no_further() -> None:
    world, _ = bidding_world()
    price = {i.machine.machine_id: i.gpu_usd_per_hour for i in world.market.instances.values()}
    for hour in range(8):
        for machine_id, usd in price.items():
            world.market.offers.bids.rivals[machine_id] = usd * (1.0 + 0.15 * hour)
        for country in {m.country for m in world.market.offers.machines.values()}:
            world.market.offers.bids.floors[country] = [(0.0, 1.0 + 0.15 * hour)]
        run_minutes(world, 30)
        assert sum(row.perf for row in ready(world)) >= HOT * 0.9
        rows = world.workers.rows.values()
        at_bids = [row for row in rows if row.is_bid]
        assert all(row.usd_per_hour < row.on_demand_usd_per_hour for row in at_bids)
        dearest = max(row.usd_per_hour / row.perf for row in rows if not row.is_bid)
        assert all(row.usd_per_hour / row.perf < dearest for row in at_bids)
    assert world.market.bill(world.now).usd_per_hour < 1.7  # three on demand and all the disks
    assert rows_are_machines(world)


def test_what_stays_outbid_is_returned_and_costs_its_disk_meanwhile() -> None:
    world, _ = bidding_world()
    world.market.switch_on("outbid", world.now)
    run_minutes(world, 3)
    paused = in_state(world, WorkerState.PAUSED)
    assert paused
    bill = world.market.bill(world.now)
    before = {key: bill.by_instance[key].gpu_usd for key in paused}
    take_all(world)  # and there are no others
    run_minutes(world, 6 * 60)
    assert not set(paused) & set(world.market.instances)
    after = world.market.bill(world.now).by_instance
    assert {key: after[key].gpu_usd for key in paused} == before
    assert any("outbid_long" in str(event.facts) for event in all_events(world))
    assert sum(row.perf for row in ready(world, is_bid=False)) >= HOT * 0.9


def test_credit_that_ends_while_machines_are_outbid_and_comes_back() -> None:
    world, endpoint_id = bidding_world()
    world.market.switch_on("outbid", world.now)
    run_minutes(world, 3)
    world.market.switch_on("credit-zero", world.now)
    run_minutes(world, 20)
    world.market.switch_off("credit-zero", world.now)
    world.market.switch_off("outbid", world.now)
    world.ask(endpoint_id, 3)
    run_minutes(world, 20)
    assert world.n_waiting == 0
    assert sum(row.perf for row in ready(world)) >= HOT * 0.9
    run_minutes(world, 2)  # what was told to go in the last minute is confirmed gone
    assert rows_are_machines(world)


def test_in_doubt_nothing_is_rented_and_no_bid_is_raised() -> None:
    """In long doubt what is short is rented again (core/fleet/inventory.py); no bid is raised."""
    world, _ = bidding_world()
    take_all(world)
    run_minutes(world, 2)
    world.market.switch_on("deprecated-list", world.now)
    calls = [count_calls(world, verb) for verb in (Verb.CREATE, Verb.BID)]
    run_minutes(world, 9)
    assert [count_calls(world, verb) for verb in (Verb.CREATE, Verb.BID)] == calls
    run_minutes(world, 51)
    assert count_calls(world, Verb.BID) == calls[1]
    assert sum(row.perf for row in ready(world)) >= HOT * 0.9


def test_who_wants_them_no_more_is_rid_of_them_without_a_gap() -> None:
    world, endpoint_id = bidding_world()
    before = params_of(world, endpoint_id)
    set_group(world, endpoint_id, params=replace(before, interruptible=Interruptible.NEVER))
    for _ in range(30):
        run_minutes(world, 1)
        assert sum(row.perf for row in ready(world)) >= HOT * 0.6
    assert not any(row.is_bid for row in world.workers.rows.values())
    assert not any(i.is_bid for i in world.market.instances.values())
    assert sum(row.perf for row in ready(world)) >= HOT * 0.9


@pytest.mark.parametrize("cap", [1.5, 2.0])
def test_the_caps_hold_by_the_markets_bill_whoever_comes_back_when(cap: float) -> None:
    world = World(seed=5, account=Account())
    world.ledger.set_caps({"caps_microusd_per_hour": int(cap * 1e6)})
    world.add_group(cold_workers=1, max_workers=12, min_load=HOT, interruptible=Interruptible.MIXED)
    for turn in range(30):
        switch = world.market.switch_on if turn % 2 else world.market.switch_off
        switch("outbid", world.now)
        run_rounds(world, 10, every_s=20.0)
        assert world.market.bill(world.now).peak_usd_per_hour <= cap
    assert ready(world)


def test_an_overflow_group_serves_its_base_on_demand() -> None:
    world, _ = bidding_world(interruptible=Interruptible.OVERFLOW)
    assert sum(row.perf for row in ready(world, is_bid=False)) >= HOT * 0.85


def test_half_at_risk_is_half_at_bids() -> None:
    world, _ = bidding_world(interruptible_share=0.5)
    at_bids = sum(row.perf for row in ready(world, is_bid=True))
    assert 0 < at_bids <= 0.5 * HOT * 1.001
    assert sum(row.perf for row in ready(world)) >= HOT * 0.9


@pytest.mark.parametrize(("share", "n_serving"), [(0.0, 0), (0.333, 1)])
def test_no_more_are_rented_than_may_serve(share: float, n_serving: int) -> None:
    """A third of three workers is one, however it is written; others would be stored only."""
    world, _ = bidding_world(interruptible_share=share)
    assert len(ready(world, is_bid=True)) == n_serving
    assert sum(row.is_bid for row in world.workers.rows.values()) <= 3 * n_serving
    assert sum(row.perf for row in ready(world)) >= HOT


def test_who_takes_no_interruptible_worker_is_served_on_demand() -> None:
    """None on demand is up: one is started, serves, and rests again."""
    world, endpoint_id = bidding_world()
    assert not ready(world, is_bid=False)
    n_starts = count_calls(world, Verb.START)
    world.ask(endpoint_id, 1, insists=True)
    run_minutes(world, 12)
    assert world.n_waiting == 0
    assert count_calls(world, Verb.START) == n_starts + 1
