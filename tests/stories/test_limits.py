"""Days on which an owner lowers something, or deletes it: only less may come of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import WorkerState
from fakes.worlds.world import World
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    params_of,
    run_rounds,
    set_group,
)
from tests.stories.day import Day


def fleet_of(n: int, **params: object) -> tuple[World, int]:
    """A group that holds n ready workers."""
    world = World(seed=3)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    values = {"min_load": 80.0 * n, "max_workers": n, "cold_workers": 0, **params}
    group = world.add_group("llm", **values)
    run_rounds(world, 16)
    assert len(in_state(world, WorkerState.READY)) == n
    return world, group.endpoint_id


@pytest.mark.parametrize("most", [3, 1])
def test_max_workers_is_lowered_and_the_fleet_comes_down_to_it(most: int) -> None:
    world, endpoint_id = fleet_of(4)
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), max_workers=most))
    before = count_calls(world, Verb.CREATE)
    run_rounds(world, 12)
    assert len(world.market.instances) == most
    assert len(in_state(world, WorkerState.READY)) == most, "what serves is kept"
    assert count_calls(world, Verb.CREATE) == before
    world.ask(endpoint_id, 1)
    run_rounds(world, 2)
    assert world.n_waiting == 0


def test_a_cold_fleet_comes_down_to_a_lowered_max_workers_and_what_serves_is_kept() -> None:
    world, endpoint_id = fleet_of(4)
    right = replace(params_of(world, endpoint_id), min_load=50.0, cold_workers=3)
    set_group(world, endpoint_id, params=right)
    run_rounds(world, 140)
    ready = in_state(world, WorkerState.READY)
    assert len(ready) == 1
    assert len(in_state(world, WorkerState.STOPPED)) == 3
    set_group(world, endpoint_id, params=replace(right, max_workers=2))
    run_rounds(world, 8)
    assert in_state(world, WorkerState.READY) == ready
    assert len(world.market.instances) == 2


def test_a_fleet_that_is_returned_at_once_is_no_doubt_about_any_of_its_machines() -> None:
    """Looks take turns: whom nobody asked about yet was told as one that Vast says nothing of."""
    day = Day()
    group = day.group(max_workers=12, cold_workers=12, min_load=900.0)
    day.minutes(10, rounds=4)
    day.change(group, min_load=50.0)
    day.minutes(10, rounds=2)
    day.change(group, max_workers=2)
    day.minutes(10, rounds=2)
    assert len(day.world.market.instances) == len(day.world.workers.rows) == 2
    assert day.told("machine_unsettled") == []
    failed = [event.message for event in day.events() if event.kind == "action_failed"]
    assert failed == [], "what waits for its turn did not fail"


def test_a_request_in_flight_is_not_cut_when_max_workers_is_lowered() -> None:
    world, endpoint_id = fleet_of(2)
    for instance_id in in_state(world, WorkerState.READY):
        world.occupy(instance_id, 1, 500.0)
    world.tick(10)
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), max_workers=1))
    run_rounds(world, 20)
    assert len(in_state(world, WorkerState.DRAINING)) == 1, "it finishes what it has"
    for instance_id in in_state(world, WorkerState.DRAINING):
        world.occupy(instance_id, 0, 0.0)
    run_rounds(world, 6)
    assert len(world.market.instances) == 1


def test_a_lowered_floor_with_raised_max_workers_rents_nothing() -> None:
    world, endpoint_id = fleet_of(2, min_load=1e6)
    right = replace(params_of(world, endpoint_id), min_load=1.0, max_workers=20, cold_workers=0)
    set_group(world, endpoint_id, params=right)
    before = count_calls(world, Verb.CREATE)
    run_rounds(world, 60, every_s=60.0)
    assert count_calls(world, Verb.CREATE) == before
    assert len(in_state(world, WorkerState.READY)) == 1


def test_a_group_deleted_beside_two_others_near_the_cap_stops_none_of_theirs() -> None:
    world = World(seed=3)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    big = world.add_group("big", min_load=600.0, max_workers=8, cold_workers=8)
    bystanders = [
        world.add_group(name, min_load=50.0, max_workers=2, cold_workers=0)
        for name in ("left", "right")
    ]
    run_rounds(world, 24)
    set_group(world, big.endpoint_id, params=replace(big.params, min_load=0.0))
    run_rounds(world, 140)
    rows = list(world.workers.rows.values())
    assert sum(row.state is WorkerState.STOPPED for row in rows) >= 6
    now_usd = world.ledger.account().committed_microusd_per_hour
    running = sum(row.usd_per_hour for row in rows) * 1e6
    cap = int(now_usd * 1.1)
    assert cap < running, "started, the stopped ones would pass the cap"
    world.ledger.set_caps({"caps_microusd_per_hour": cap})
    run_rounds(world, 2)
    served = in_state(world, WorkerState.READY)
    set_group(world, big.endpoint_id, state=GroupState.DELETING)
    for _ in range(10):
        run_rounds(world, 1)
        assert set(served) <= set(in_state(world, WorkerState.READY))
    assert {row.endpoint_id for row in world.workers.rows.values()} == {
        group.endpoint_id for group in bystanders
    }
    assert not [event for event in all_events(world) if event.kind == "cap_reached"]


def test_max_workers_raised_again_while_the_surplus_drains_recalls_it() -> None:
    """Machines that still served were returned, and others rented in their place."""
    day = Day()
    group = day.group(max_workers=5, min_load=350.0, cold_workers=0)
    day.minutes(8, rounds=3)
    n_ready = day.n(WorkerState.READY)
    for machine in list(day.world.processes):
        day.world.occupy(machine, 2, 300.0)
    day.world.tick(10)
    day.change(group, max_workers=1)
    day.minutes(2, rounds=3)
    assert day.n(WorkerState.READY) == 1
    rented = day.calls(Verb.CREATE)
    day.change(group, max_workers=3)
    day.minutes(1, rounds=3)
    assert (day.n(WorkerState.READY), day.n(WorkerState.DRAINING)) == (3, n_ready - 3)
    day.change(group, max_workers=n_ready)
    day.minutes(2, rounds=3)
    assert (day.n(WorkerState.READY), day.calls(Verb.CREATE)) == (n_ready, rented)
    day.ends()


def test_a_cap_that_was_raised_is_no_trouble_any_more_where_nothing_is_offered() -> None:
    """While no offer was seen, the cap of before was told on, with the new cap's figures."""
    day = Day(cap_usd_per_hour=0.3)
    group = day.group(cold_workers=0)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(3, rounds=3)
    assert set(day.troubles()) == {"cap_reached"}
    day.change_autogroup(group, search_query={"gpu_name": {"eq": "RTX 0000"}})
    day.minutes(4, rounds=3)
    assert set(day.troubles()) == {"cap_reached", "no_offers"}, "nobody can know better"
    day.world.ledger.set_caps({"caps_microusd_per_hour": 5_000_000})
    day.minutes(2, rounds=3)
    assert set(day.troubles()) == {"no_offers"}
    day.ends()
