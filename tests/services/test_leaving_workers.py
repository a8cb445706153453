"""Rolling updates and ending contracts: a substitute is ready before a serving worker leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.services.keys import Caller
from chalicelib.services.owner.rollouts import start_update
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import World
from tests.faults.stories import params_of, set_group

OWNER = Caller(key_id="a-roa-1", verbs=frozenset({"read", "admin"}), endpoint_id=None, generation=1)


def _world() -> tuple[World, int]:
    world = World(seed=11)
    group = world.add_group(min_load=150.0, max_workers=4, cold_workers=0)
    _rounds(world, 10)
    return world, group.endpoint_id


def _rounds(world: World, n: int) -> int:
    """Run rounds; gives the fewest workers that were ready after any of them."""
    fewest = 1_000
    for _ in range(n):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(15)
        fewest = min(fewest, len(_ready(world)))
    return fewest


def _ready(world: World) -> list[Worker]:
    return [row for row in world.workers.rows.values() if row.state is WorkerState.READY]


def _start_update(world: World, endpoint_id: int, lasts_s: float = 3600.0) -> int:
    groups = world.owner_ports.groups
    autogroup = groups.list_autogroups(endpoint_id)[0]
    after = replace(
        autogroup,
        template_revision=autogroup.template_revision + 1,
        rollout_by=world.now + lasts_s,
        revision=autogroup.revision + 1,
    )
    groups.put_autogroup(after, expected_revision=autogroup.revision)
    return after.template_revision


def test_an_update_replaces_every_worker_and_never_has_fewer_ready() -> None:
    world, endpoint_id = _world()
    n_ready = len(_ready(world))
    revision = _start_update(world, endpoint_id)
    assert _rounds(world, 60) >= n_ready
    assert {row.template_revision for row in _ready(world)} == {revision}
    autogroup = world.owner_ports.groups.list_autogroups(endpoint_id)[0]
    assert autogroup.rollout_by is None, "the update ends by itself"


def test_a_cancelled_update_leaves_the_remaining_workers_alone() -> None:
    world, endpoint_id = _world()
    _start_update(world, endpoint_id)
    groups = world.owner_ports.groups
    autogroup = groups.list_autogroups(endpoint_id)[0]
    groups.put_autogroup(
        replace(autogroup, rollout_by=None, revision=autogroup.revision + 1),
        expected_revision=autogroup.revision,
    )
    before = {row.instance_id for row in _ready(world)}
    _rounds(world, 20)
    assert {row.instance_id for row in _ready(world)} == before


def test_an_update_at_max_workers_goes_on_without_surge() -> None:
    world = World(seed=11)
    group = world.add_group(min_load=150.0, max_workers=2, cold_workers=0)
    _rounds(world, 10)
    assert len(_ready(world)) == 2
    revision = _start_update(world, group.endpoint_id)
    assert _rounds(world, 60) >= 1
    assert {row.template_revision for row in _ready(world)} == {revision}


@pytest.mark.parametrize("fault", ["offer-gone", "spend-rate-limit", "load-stuck", "boot-error"])
def test_where_no_substitute_can_be_had_the_old_template_serves_on(fault: str) -> None:
    """An hour after the update began the last good worker was taken, and nobody served."""
    world = World(seed=11)
    group = world.add_group(min_load=75.0, max_workers=3, cold_workers=0)
    _rounds(world, 10)
    [autogroup] = world.owner_ports.groups.list_autogroups(group.endpoint_id)
    world.market.switch_on(fault, world.now)
    start_update(world.owner_ports, OWNER, autogroup.autogroup_id)
    assert _rounds(world, 300) == 1
    world.market.switch_off(fault, world.now)
    assert _rounds(world, 200) == 1, "the update goes on, without a gap"
    assert {row.template_revision for row in _ready(world)} == {autogroup.template_revision + 1}


def test_an_update_below_a_cap_that_leaves_room_for_no_second_machine_takes_no_first() -> None:
    world = World(seed=11)
    group = world.add_group(min_load=75.0, max_workers=3, cold_workers=0)
    _rounds(world, 10)
    [autogroup] = world.owner_ports.groups.list_autogroups(group.endpoint_id)
    world.ledger.set_caps({"caps_microusd_per_hour": 600_000})
    start_update(world.owner_ports, OWNER, autogroup.autogroup_id)
    assert _rounds(world, 300) == 1


def test_a_substitute_is_ready_before_a_contract_ends() -> None:
    world, _ = _world()
    ends_at = world.now + 3000
    for instance in world.market.instances.values():
        instance.ends_at = ends_at
    n_ready = len(_ready(world))
    old = {row.instance_id for row in _ready(world)}
    while world.now < ends_at - 300:
        assert _rounds(world, 1) >= n_ready
    assert not old & {row.instance_id for row in _ready(world)}


def test_the_only_worker_serves_almost_until_its_contract_ends() -> None:
    """No room for a substitute: nobody would serve for the quarter of an hour before the end."""
    world = World(seed=11)
    world.add_group(min_load=75.0, max_workers=1, cold_workers=0)
    _rounds(world, 10)
    (instance,) = world.market.instances.values()
    instance.ends_at = ends_at = world.now + 800
    while world.now < ends_at - 150:
        assert _rounds(world, 1) == 1
    _rounds(world, 6)
    assert not _ready(world)


def _search(world: World, endpoint_id: int, gpu_name: str, test_workers: int) -> Autogroup:
    groups = world.owner_ports.groups
    [before] = groups.list_autogroups(endpoint_id)
    query = {"gpu_name": {"eq": gpu_name}}
    after = replace(before, search_query=query, test_workers=test_workers)
    groups.put_autogroup(
        replace(after, revision=before.revision + 1), expected_revision=before.revision
    )
    return after


def test_an_update_for_another_search_keeps_the_machines_that_fit() -> None:
    world = World(seed=11)
    group = world.add_group(max_workers=6, cold_workers=4)
    _search(world, group.endpoint_id, "RTX 4090", test_workers=2)
    _rounds(world, 8)
    autogroup = _search(world, group.endpoint_id, "RTX 3090", test_workers=2)
    params = replace(params_of(world, group.endpoint_id), min_load=250.0)
    set_group(world, group.endpoint_id, params=params)
    _rounds(world, 40)
    kinds = Counter(row.gpu_name for row in world.workers.rows.values())
    assert set(kinds) == {"RTX 4090", "RTX 3090"}
    fitting = {i for i, row in world.workers.rows.items() if row.gpu_name == "RTX 3090"}
    n_announced = start_update(world.owner_ports, OWNER, autogroup.autogroup_id)
    assert n_announced == kinds["RTX 4090"]
    _rounds(world, 80)
    rows = world.workers.rows
    assert {row.gpu_name for row in rows.values()} == {"RTX 3090"}
    assert fitting <= set(rows), "machines that fit are kept"
    assert world.owner_ports.groups.list_autogroups(group.endpoint_id)[0].rollout_by is None
