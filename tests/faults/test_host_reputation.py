"""C15: bad hosts are not rented again and again; lost reports replace nobody."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest

from chalicelib.core.fleet.breakers import HOST_COOL_DOWN_S
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import World
from tests.faults.stories import count_calls, in_state, run_rounds, serving_world


def test_c15_a_bad_host_is_rented_at_most_once_per_cool_down() -> None:
    """One machine in ten never boots a worker; demand comes and goes for two days."""
    world = World(seed=21)
    world.ledger.set_caps(
        {
            "caps_microusd_per_hour": 100_000_000,
            "caps_microusd_per_day": 1_000_000_000,
            "caps_idle_microusd_per_day": 1_000_000_000,
        }
    )
    group = world.add_group(cold_workers=0, max_workers=3)
    rented_at: defaultdict[int, dict[int, float]] = defaultdict(dict)  # machine → instance → when
    bad: list[int] = []
    for n in range(2 * 24 * 12):
        if n % 12 == 0:
            world.ask(group.endpoint_id, 6)
        scaling_loop(world.ports, deadline_at=world.now + 1)
        for instance_id, instance in world.market.instances.items():
            rented_at[instance.machine.machine_id].setdefault(instance_id, world.now)
        world.tick(10.0)
        bad = list(rented_at)[::10]
        _break_workers(world, bad)
        world.tick(290.0)
    for machine_id in bad:
        times = sorted(rented_at[machine_id].values())
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(gap >= HOST_COOL_DOWN_S for gap in gaps)
    assert bad
    assert world.n_waiting == 0


def _break_workers(world: World, machine_ids: list[int]) -> None:
    for instance_id, instance in world.market.instances.items():
        if instance.machine.machine_id in machine_ids and instance_id in world.processes:
            world.processes[instance_id].error = "CUDA driver is too old"


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_r11_lost_reports_replace_nobody(share: float) -> None:
    world, endpoint_id = serving_world(3)
    world.report_loss = share
    machines = set(world.market.instances)
    n_changes = count_calls(world, Verb.CREATE) + count_calls(world, Verb.DESTROY)
    for _ in range(120):
        world.ask(endpoint_id, 1)
        run_rounds(world, 1)
    assert set(world.market.instances) == machines
    assert count_calls(world, Verb.CREATE) + count_calls(world, Verb.DESTROY) == n_changes
    assert world.n_waiting == 0
    assert in_state(world, WorkerState.READY)
