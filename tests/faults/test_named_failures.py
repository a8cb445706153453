"""The failures that a fleet has every day, one story each (reliability.md)."""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.rounds.round import run_round
from fakes.worlds.world import World
from tests.faults.stories import (
    count_calls,
    in_state,
    rows_are_machines,
    run_rounds,
    serving_world,
    set_group,
    take_lease,
)


def test_r1_two_hours_without_vast_change_nothing_and_routing_goes_on() -> None:
    world, endpoint_id = serving_world()
    before = set(world.workers.rows)
    world.market.switch_on("market-down", world.now)
    for _ in range(120):
        world.ask(endpoint_id, 1)
        run_rounds(world, 1, every_s=60.0)
    assert set(world.workers.rows) == before
    assert world.n_waiting == 0
    world.market.switch_off("market-down", world.now)
    run_rounds(world, 3)
    assert rows_are_machines(world)


def test_r2_vasts_intervals_are_kept_even_when_much_is_to_be_done() -> None:
    world = World(seed=1)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    world.add_group(min_load=700.0, max_workers=9)
    for _ in range(30):
        scaling_loop(world.ports, deadline_at=world.now + 50)
        world.tick(5)
    assert count_calls(world, Verb.CREATE) >= 8
    assert world.market.n_too_frequent == 0


def test_r3_an_offer_that_is_gone_costs_no_extra_round_and_blames_no_host() -> None:
    world = World(seed=6)
    world.add_group(min_load=75.0)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    world.tick(5)
    world.market.switch_on("offer-gone", world.now, times=1)
    run_round(world.ports, *take_lease(world))
    assert len(world.market.instances) == 1
    assert count_calls(world, Verb.CREATE) == 2


@pytest.mark.parametrize("fault", ["create-timeout-rented", "create-timeout-not-rented"])
def test_r4_an_ambiguous_create_counts_until_two_late_listings_settle_it(fault: str) -> None:
    world = World(seed=6)
    world.add_group(min_load=75.0, max_workers=1)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    world.tick(5)
    world.market.switch_on(fault, world.now, times=1)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    asked_at = world.now
    assert world.ledger.account().workers_by_group
    for _ in range(40):
        run_rounds(world, 1, every_s=5.0)
        assert len(world.market.instances) <= 1
    later = [c.at - asked_at for c in world.market.calls if c.verb is Verb.CREATE][1:]
    assert all(60.0 < pause_s < 90.0 for pause_s in later), "a listing may lag by a minute"
    assert len(later) == (fault == "create-timeout-not-rented")
    assert len(in_state(world, WorkerState.READY)) == 1
    assert rows_are_machines(world)


def test_r4_success_false_with_a_contract_is_returned() -> None:
    world = World(seed=6)
    world.add_group(min_load=75.0)
    world.market.switch_on("success-false-contract", world.now, times=1)
    run_rounds(world, 20)
    assert rows_are_machines(world)
    assert len(world.market.instances) == 1
    assert len(world.market.bill(world.now).by_instance) == 2


@pytest.mark.parametrize("fault", ["partial-bulk", "destroy-fails", "destroy-404"])
def test_r5_r6_destroys_are_repeated_until_the_machines_are_confirmed_absent(fault: str) -> None:
    world, endpoint_id = serving_world(3)
    world.market.switch_on(fault, world.now, times=4)
    set_group(world, endpoint_id, state=GroupState.DELETING)
    run_rounds(world, 30)
    assert not world.market.instances
    assert not world.workers.rows
    assert world.owner_ports.groups.list_groups() == []


def test_r11_a_silent_worker_is_suspected_then_replaced() -> None:
    world, endpoint_id = serving_world(3)
    silent = in_state(world, WorkerState.READY)[0]
    world.processes[silent].is_silent = True
    run_rounds(world, 3)
    assert silent in in_state(world, WorkerState.SUSPECT)
    run_rounds(world, 4)
    assert silent in in_state(world, WorkerState.UNREACHABLE)
    world.ask(endpoint_id, 2)
    run_rounds(world, 60)
    assert silent not in world.market.instances
    assert len(in_state(world, WorkerState.READY)) >= 3


def test_r11_when_all_fall_silent_at_once_it_is_our_fault_and_none_is_replaced() -> None:
    world, _ = serving_world(3)
    ready = set(in_state(world, WorkerState.READY))
    n_creates, n_destroys = count_calls(world, Verb.CREATE), count_calls(world, Verb.DESTROY)
    for process in world.processes.values():
        process.is_silent = True
    run_rounds(world, 100)
    assert set(in_state(world, WorkerState.READY)) == ready
    assert (count_calls(world, Verb.CREATE), count_calls(world, Verb.DESTROY)) == (
        n_creates,
        n_destroys,
    )


def test_r14_a_machine_that_is_gone_is_not_routed_to_though_something_still_reports() -> None:
    world, _ = serving_world(2)
    victim = in_state(world, WorkerState.READY)[0]
    world.market.destroy([victim], world.now)
    run_rounds(world, 4)
    assert victim not in in_state(world, WorkerState.READY)
    run_rounds(world, 10)
    assert rows_are_machines(world)


def test_r15_interrupted_machines_are_seen_on_a_listing_not_after_a_timeout() -> None:
    world, endpoint_id = serving_world(2)
    world.tick(60)
    world.market.switch_on("interrupted", world.now)
    world.tick(5)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    assert in_state(world, WorkerState.READY) == []
    world.market.switch_off("interrupted", world.now)
    world.ask(endpoint_id, 2)
    run_rounds(world, 20)
    assert world.n_waiting == 0


@pytest.mark.parametrize("fault", ["start-stuck", "start-refused"])
def test_r16_a_start_that_hangs_is_substituted(fault: str) -> None:
    world = World(seed=4)
    group = world.add_group(cold_workers=1, max_workers=3)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 10)
    set_group(world, group.endpoint_id, state=GroupState.SUSPENDED)
    run_rounds(world, 10)
    assert in_state(world, WorkerState.STOPPED)
    set_group(world, group.endpoint_id, state=GroupState.ACTIVE)
    world.market.switch_on(fault, world.now)
    world.ask(group.endpoint_id, 2)
    run_rounds(world, 60)
    assert world.n_waiting == 0
    world.market.switch_off(fault, world.now)
    run_rounds(world, 40)
    assert rows_are_machines(world)


def test_r17_no_credit_is_one_alarm_and_no_loop_of_creates() -> None:
    world, endpoint_id = serving_world(2)
    n_creates = count_calls(world, Verb.CREATE)
    world.market.switch_on("credit-zero", world.now)
    world.ask(endpoint_id, 5)
    run_rounds(world, 120)
    alarms = world.events.tail("account", limit=1000, kinds=frozenset({"no_credit"}))
    assert len(alarms) <= 1
    assert count_calls(world, Verb.CREATE) - n_creates <= 120 * 15 / 300 + 2
    world.market.switch_off("credit-zero", world.now)
    run_rounds(world, 40)
    assert world.n_waiting == 0


def test_r18_a_price_above_the_cap_is_never_paid() -> None:
    world, _ = serving_world(2)
    peak = world.market.bill(world.now).peak_usd_per_hour
    world.ledger.set_caps({"caps_microusd_per_hour": int(peak * 1.1e6)})
    for instance in world.market.instances.values():
        instance.gpu_usd_per_hour *= 1.5
    run_rounds(world, 10)
    assert world.market.bill(world.now).usd_per_hour <= peak * 1.1


def test_r18_a_price_increase_ends_contracts_and_substitutes_are_ready_before() -> None:
    world, _ = serving_world(2)
    old = set(world.market.instances)
    n_ready = len(in_state(world, WorkerState.READY))
    world.market.switch_on("price-increase", world.now, notice_s=3000.0)
    for _ in range(180):
        run_rounds(world, 1)
        assert len(in_state(world, WorkerState.READY)) >= n_ready
    assert not old & set(world.market.instances)
    assert rows_are_machines(world)
