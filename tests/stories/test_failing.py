"""Days on which a worker looks well and serves nobody."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from fakes.worlds.world import World
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    params_of,
    run_rounds,
    set_group,
)


def served_by(n: int, **params: object) -> tuple[World, int]:
    """A group of n ready workers behind a router that remembers."""
    world = World(seed=5, keeps_router=True)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(
        "llm", **{"min_load": 80.0 * n, "max_workers": n + 2, "cold_workers": 0, **params}
    )
    run_rounds(world, 16)
    assert len(in_state(world, WorkerState.READY)) >= n
    return world, group.endpoint_id


def play(world: World, endpoint_id: int, n_steps: int) -> None:
    """Two requests each five seconds, and the scaler beside them."""
    for _ in range(n_steps):
        world.ask(endpoint_id, 2)
        run_rounds(world, 1, every_s=5.0)


def memory_of(world: World) -> RoundMemory:
    return RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))


def told(world: World, kind: str) -> list[str]:
    return [event.kind for event in all_events(world) if event.kind.startswith(kind)]


def test_a_black_hole_is_left_within_thirty_requests_rebooted_and_comes_back() -> None:
    world, endpoint_id = served_by(3)
    bad = min(in_state(world, WorkerState.READY))
    world.processes[bad].fails = True
    play(world, endpoint_id, 30)
    assert world.n_waiting == 0
    assert world.n_served == 60
    n_first = max(w.n_errored for w in world.workers.rows.values())
    assert n_first <= 30
    assert count_calls(world, Verb.REBOOT) == 1
    assert told(world, "worker_failing") == ["worker_failing", "worker_failing_over"]
    assert world.workers.rows[endpoint_id, bad].state is WorkerState.READY, "the reboot cured it"


def test_one_that_fails_again_after_its_reboot_is_returned_and_its_machine_remembered() -> None:
    world, endpoint_id = served_by(3)
    bad = min(in_state(world, WorkerState.READY))
    machine_id = world.market.instances[bad].machine.machine_id
    for _ in range(80):
        if bad in world.processes:
            world.processes[bad].fails = True
        play(world, endpoint_id, 1)
    assert bad not in world.market.instances
    assert str(machine_id) in memory_of(world).reputation.hosts
    assert count_calls(world, Verb.REBOOT) == 1
    run_rounds(world, 20)
    assert len(in_state(world, WorkerState.READY)) >= 3, "another took its place"
    assert world.n_waiting == 0


def test_the_only_worker_fails_everything_and_its_clients_are_served_all_the_same() -> None:
    world, endpoint_id = served_by(1, max_workers=3)
    (bad,) = in_state(world, WorkerState.READY)
    for _ in range(120):
        if bad in world.processes:
            world.processes[bad].fails = True
        play(world, endpoint_id, 1)
    assert bad not in world.market.instances
    assert world.n_waiting == 0
    assert "worker_failing" in told(world, "worker_failing")


def test_a_worker_that_reports_and_cannot_be_reached_is_left() -> None:
    world, endpoint_id = served_by(3)
    deaf = min(in_state(world, WorkerState.READY))
    for _ in range(60):
        if deaf in world.processes:
            world.processes[deaf].is_deaf = True
        play(world, endpoint_id, 1)
    assert world.n_waiting == 0
    assert count_calls(world, Verb.REBOOT) >= 1
    assert "worker_failing" in told(world, "worker_failing")


def test_poisoned_requests_blame_nobody_and_are_told_as_what_they_are() -> None:
    world, endpoint_id = served_by(2)
    before = set(world.market.instances)
    for _ in range(60):
        for process in world.processes.values():
            process.fails = True  # whatever serves them, these requests fail
        play(world, endpoint_id, 1)
    world.clients.leave()
    assert told(world, "requests_fail")[:1] == ["requests_fail"]
    assert before <= set(world.market.instances), "no machine would do better"


def test_one_tenants_failures_are_the_tenants_own() -> None:
    """A key whose every request fails turns away from workers; the others' are served there."""
    world, endpoint_id = served_by(3)
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), max_workers=3))
    for _ in range(40):
        world.ask(endpoint_id, 4)
        run_rounds(world, 1, every_s=5.0)
    assert count_calls(world, Verb.REBOOT) == 0
    assert told(world, "worker_failing") == []
