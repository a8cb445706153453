"""An autogroup that cannot be launched costs nobody else anything, and its owner is told."""

from __future__ import annotations

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import World


def _rounds(world: World, n: int) -> None:
    for _ in range(n):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(15)


def test_a_template_that_does_not_exist_stops_no_other_group() -> None:
    world = World(seed=4)
    broken = world.add_group("broken")
    world.owner_ports.groups.remove_autogroup(broken.endpoint_id + 1)
    typo = world.add_autogroup(broken.endpoint_id, template_hash="nonsense")
    sound = world.add_group("sound", min_load=75.0)
    _rounds(world, 10)
    ready = {row.endpoint_id for row in world.workers.rows.values()}
    assert ready == {sound.endpoint_id}
    assert any(row.state is WorkerState.READY for row in world.workers.rows.values())
    told = [
        event
        for event in world.events.tail(f"autogroup:{typo.autogroup_id}", limit=50)
        if event.kind.startswith("cannot_launch")
    ]
    assert len(told) == 1  # once, however many rounds it lasts
    assert "Vast knows no template 'nonsense'" in told[0].message
    scope = f"autogroup:{typo.autogroup_id}"
    others = {event.kind for event in world.events.tail(scope, limit=50)}
    assert not others & {"no_offers", "template_unreadable"}, "it was never searched"


def test_it_is_over_once_the_template_is_right() -> None:
    world = World(seed=4)
    group = world.add_group("llm", min_load=75.0)
    groups = world.owner_ports.groups
    groups.remove_autogroup(group.endpoint_id + 1)
    typo = world.add_autogroup(group.endpoint_id, template_hash="nonsense")
    _rounds(world, 5)
    assert not world.workers.rows
    groups.remove_autogroup(typo.autogroup_id)
    world.add_autogroup(group.endpoint_id)
    _rounds(world, 10)
    kinds = [e.kind for e in world.events.tail(f"autogroup:{typo.autogroup_id}", limit=50)]
    assert [k for k in kinds if k != "notified"] == ["cannot_launch", "cannot_launch_over"]
    assert world.workers.rows


@pytest.mark.parametrize("port", ["0", "65536", "http", "²", "-1", "99999999999999999999"])
def test_a_port_that_is_none_stops_no_other_group_and_is_told(port: str) -> None:
    """`int` takes no superscript two, which `isdigit` does: every group's round failed."""
    world = World(seed=4)
    broken = world.add_group("broken")
    world.owner_ports.groups.remove_autogroup(broken.endpoint_id + 1)
    typo = world.add_autogroup(broken.endpoint_id, launch_args=f"--env '-e WORKER_PORT={port}'")
    sound = world.add_group("sound", min_load=75.0)
    _rounds(world, 6)
    assert {row.endpoint_id for row in world.workers.rows.values()} == {sound.endpoint_id}
    (told,) = [
        event.message
        for event in world.events.tail(f"autogroup:{typo.autogroup_id}", limit=50)
        if event.kind == "cannot_launch"
    ]
    assert f"WORKER_PORT='{port}' is no port" in told
