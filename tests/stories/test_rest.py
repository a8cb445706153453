"""Days on which nothing is asked: the group comes to rest, and stays there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from fakes.worlds.world import World
from tests.faults.stories import count_calls, in_state, params_of, run_rounds, set_group
from tests.stories.day import HOUR, Day

HOUR_ROUNDS = 60
LONGEST_HOLD_ROUNDS = 32
"""docs/internals/scaling.md: W is at most 30 minutes; two rounds more to drain and stop."""


def asked_once(**parameters: object) -> tuple[World, int]:
    """A group that served one request and has nothing else to do."""
    world = World(seed=2)
    group = world.add_group("llm", cold_workers=1, max_workers=5, **parameters)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 12)
    assert world.n_waiting == 0
    return world, group.endpoint_id


def run_minutes(world: World, n: int) -> None:
    run_rounds(world, n, every_s=60.0)


@pytest.mark.parametrize("inactivity_timeout", [None, 0.0, 300.0])
def test_after_one_request_nothing_runs_once_the_hold_is_over(
    inactivity_timeout: float | None,
) -> None:
    world, _ = asked_once(inactivity_timeout=inactivity_timeout)
    run_minutes(world, LONGEST_HOLD_ROUNDS)
    assert set(in_state(world, *WorkerState)) == set(in_state(world, WorkerState.STOPPED))


def test_a_negative_timeout_keeps_one_worker() -> None:
    world, _ = asked_once(inactivity_timeout=-1.0)
    run_minutes(world, 3 * HOUR_ROUNDS)
    assert len(in_state(world, WorkerState.READY)) == 1


def test_an_idle_day_rents_and_starts_nothing_and_costs_storage_alone() -> None:
    world, _ = asked_once()
    run_minutes(world, LONGEST_HOLD_ROUNDS)
    before = count_calls(world, Verb.CREATE), count_calls(world, Verb.START)
    begun, spent = world.now, world.market.bill(world.now).total_usd
    run_minutes(world, 24 * HOUR_ROUNDS)
    assert (count_calls(world, Verb.CREATE), count_calls(world, Verb.START)) == before
    rows = list(world.workers.rows.values())
    storage = sum(row.storage_usd_per_hour for row in rows) * (world.now - begun) / 3600.0
    assert storage > 0
    assert world.market.bill(world.now).total_usd - spent == pytest.approx(storage, rel=0.01)


def test_a_machine_that_is_lost_after_idle_hours_is_not_replaced_for_a_memory() -> None:
    world, endpoint_id = asked_once()
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), cold_workers=0))
    run_minutes(world, 6 * HOUR_ROUNDS)
    before = count_calls(world, Verb.CREATE)
    for instance_id in list(world.market.instances):
        world.market.destroy([instance_id], world.now)
    run_minutes(world, HOUR_ROUNDS)
    assert count_calls(world, Verb.CREATE) == before


def test_machines_lost_while_a_group_rests_are_replaced_when_it_is_asked_again() -> None:
    """The pool remembers a burst for hours: it keeps machines for it, and rents none at rest."""
    day = Day(seed=3)
    group = day.group(max_workers=6)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(6)  # a worker is measured: what is asked now is counted in slots
    day.world.ask(group.endpoint_id, 60)
    day.minutes(6)
    day.minutes(LONGEST_HOLD_ROUNDS)
    stopped = in_state(day.world, WorkerState.STOPPED)
    assert len(stopped) >= 4
    assert day.running() == 0
    before = day.calls(Verb.CREATE)
    for instance_id in stopped[1:]:
        day.world.market.destroy([instance_id], day.world.now)
    day.minutes(2 * HOUR)
    assert day.calls(Verb.CREATE) == before
    day.world.ask(group.endpoint_id, 60)
    day.minutes(10)
    assert day.world.n_waiting == 0
    assert day.calls(Verb.CREATE) > before


def test_a_mistyped_floor_that_is_withdrawn_is_withdrawn_from_memory_too() -> None:
    world, endpoint_id = asked_once()
    right = params_of(world, endpoint_id)
    set_group(world, endpoint_id, params=replace(right, min_load=100_000.0))
    run_rounds(world, 1)
    set_group(world, endpoint_id, params=right)
    run_rounds(world, 4)
    before = count_calls(world, Verb.CREATE)
    run_minutes(world, 2 * HOUR_ROUNDS)
    assert count_calls(world, Verb.CREATE) == before
    assert in_state(world, WorkerState.READY) == []


@pytest.mark.parametrize(("tests", "max_workers", "n_machines"), [(3, 2, 99), (3, 5, 2), (6, 5, 1)])
def test_tests_that_cannot_all_be_had_are_not_rented_again_and_again(
    tests: int, max_workers: int, n_machines: int
) -> None:
    """For want of room under max_workers, or of machines: who is unused then goes for good."""
    world = World(seed=2)
    machines = world.market.offers.machines
    fitting = sorted(key for key, one in machines.items() if one.model.name == "RTX 4090")
    for key in fitting[n_machines:]:
        del machines[key]
    group = world.add_group("llm", cold_workers=1, max_workers=max_workers)
    (autogroup,) = world.owner_ports.groups.list_autogroups(group.endpoint_id)
    after = replace(autogroup, test_workers=tests, revision=autogroup.revision + 1)
    world.owner_ports.groups.put_autogroup(after, expected_revision=autogroup.revision)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 12)
    assert world.n_waiting == 0
    before = count_calls(world, Verb.CREATE)
    assert 1 <= before <= min(tests, max_workers, n_machines)
    run_minutes(world, 5 * HOUR_ROUNDS)
    assert count_calls(world, Verb.CREATE) == before
    assert len(world.market.instances) == 1, "what cold_workers keeps"
