"""The inner loop: often while anything moves, once when nothing does, and never past its time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.adapters.aws.ledger import DynamoLedger
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.routing.directory import unpack_directory
from chalicelib.services.market.panic import panic
from chalicelib.services.rounds.loop import scaling_loop
from fakes.bundles.faulty_ports import OutgoingCalls
from fakes.worlds.world import World
from tests.faults.stories import run_rounds, serving_world, set_group


def _n_listings(world: World) -> int:
    return sum(1 for call in world.market.calls if call.verb is Verb.LIST)


def _quiet_world() -> World:
    world = World()
    world.add_group()
    autogroup = world.owner_ports.groups.list_autogroups()[0]
    world.owner_ports.groups.put_autogroup(
        replace(autogroup, test_workers=0, revision=2), expected_revision=1
    )
    for _ in range(3):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(60)
    return world


def test_an_idle_minute_takes_one_round() -> None:
    world = _quiet_world()
    before = _n_listings(world)
    scaling_loop(world.ports, deadline_at=world.now + 50)
    assert _n_listings(world) == before + 1


def test_rounds_follow_each_other_while_somebody_waits_and_end_in_time() -> None:
    world = World()
    group = world.add_group()
    world.ask(group.endpoint_id, 1)
    started_at, before = world.now, _n_listings(world)
    scaling_loop(world.ports, deadline_at=started_at + 50)
    assert _n_listings(world) - before >= 5
    assert world.now <= started_at + 50


def test_a_round_saves_money_before_it_spends_any() -> None:
    world, old = serving_world(2)
    set_group(world, old, state=GroupState.DELETING)
    orders = []
    for n in range(8):
        world.ask(world.add_group(f"new-{n}").endpoint_id, 1)
        n_before = len(world.market.calls)
        run_rounds(world, 1)
        verbs = [call.verb for call in list(world.market.calls)[n_before:]]
        if Verb.DESTROY in verbs and Verb.CREATE in verbs:
            orders.append(verbs.index(Verb.DESTROY) < verbs.index(Verb.CREATE))
    assert orders
    assert all(orders)


def test_an_idle_round_makes_at_most_ten_calls_to_aws() -> None:
    world = _quiet_world()
    calls = OutgoingCalls()
    scaling_loop(calls.wrap(world.owner_ports), deadline_at=world.now + 50)
    to_aws = Counter(name for name in calls.names if not name.startswith("marketplace"))
    assert sum(to_aws.values()) <= 10, to_aws


def test_an_idle_round_makes_at_most_ten_calls_to_dynamodb(dynamodb: Any) -> None:
    world = _quiet_world()
    ledger = DynamoLedger(dynamodb, "ballast-test")
    ports = replace(world.owner_ports, ledger=ledger)
    scaling_loop(ports, deadline_at=world.now + 1)
    world.tick(60)
    made: list[str] = []
    dynamodb.meta.events.register(
        "before-call.dynamodb", lambda model, **_: made.append(model.name)
    )
    calls = OutgoingCalls()
    watched = replace(calls.wrap(world.owner_ports), ledger=ledger)
    scaling_loop(watched, deadline_at=world.now + 50)
    others = [name for name in calls.names if not name.startswith("marketplace")]
    assert len(made) + len(others) <= 10, (made, others)


@pytest.mark.parametrize("fault", ["", "destroy-fails", "empty-list"])
def test_panic_destroys_all_that_is_ours_and_verifies_it(fault: str) -> None:
    world = World(seed=3)
    world.add_group(min_load=200.0)
    for _ in range(6):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(15)
    assert len(world.market.instances) >= 2
    if fault:
        world.market.switch_on(fault, world.now, times=3)
    report = panic(world.ports)
    world.market.advance(world.now)
    assert report.is_verified
    assert report.n_returned >= 2
    assert not world.market.instances
    assert world.ledger.account().is_panicking


def test_panic_without_an_answer_says_so() -> None:
    world = World(seed=3)
    world.market.switch_on("market-down", world.now)
    report = panic(world.ports, gives_up_s=60)
    assert not report.is_verified
    assert report.problems


def test_a_deleted_group_is_forgotten_only_when_no_machine_is_left() -> None:
    world = World(seed=3)
    group = world.add_group(min_load=100.0)
    for _ in range(6):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(15)
    deleted = replace(group, state=GroupState.DELETING, revision=2)
    world.owner_ports.groups.put_group(deleted, expected_revision=1)
    while world.owner_ports.groups.list_groups():
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(15)
        if world.market.instances:
            assert world.owner_ports.groups.list_groups()
    assert not world.workers.rows


def test_the_end_of_an_autogroups_exploration_is_told_once() -> None:
    world = World(seed=4)
    group = world.add_group(min_load=75.0)
    autogroup = world.owner_ports.groups.list_autogroups()[0]
    for _ in range(40):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(15)
    for scope in (f"endpoint:{group.endpoint_id}", f"autogroup:{autogroup.autogroup_id}"):
        told = [e for e in world.events.tail(scope, limit=500) if e.kind == "explored"]
        assert [e.message for e in told] == [
            f"Autogroup {autogroup.autogroup_id} is explored; loaded on 1x RTX 4090"
        ]


def test_a_change_whose_owner_was_cut_off_reaches_the_routers_within_a_round() -> None:
    world = _quiet_world()
    (stored,) = world.owner_ports.groups.list_groups()
    suspended = replace(stored, state=GroupState.SUSPENDED, revision=stored.revision + 1)
    world.owner_ports.groups.put_group(suspended, expected_revision=stored.revision)

    scaling_loop(world.ports, deadline_at=world.now + 1)

    directory = unpack_directory(world.ports.views.read_directory())
    told = directory.find(endpoint_id=stored.endpoint_id)
    assert told is not None
    assert told.state is GroupState.SUSPENDED


def test_the_routers_are_told_once() -> None:
    world = _quiet_world()
    calls = OutgoingCalls()
    scaling_loop(calls.wrap(world.ports), deadline_at=world.now + 1)
    assert "ledger.settle_round" in calls.names
    assert "views.write_directory" not in calls.names
