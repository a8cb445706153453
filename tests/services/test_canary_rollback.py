"""A new autogroup whose workers fail takes no more requests within minutes, and the owner knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import scaling_loop
from fakes.ports.notifier import FakeNotifier
from fakes.worlds.world import World

ROUND_S = 15.0
PER_ROUND = 5  # requests of the canary: 20 a minute


def _run(world: World, seconds: float, n_bad: Mapping[int, int], ended: Counter[str]) -> None:
    """Rounds in which every ready worker's counters grow; `n_bad`: errors a round by autogroup."""
    for _ in range(int(seconds / ROUND_S)):
        for key, row in world.workers.rows.items():
            if row.state is WorkerState.READY:
                bad = n_bad.get(row.autogroup_id, 0)
                ended[f"served {row.instance_id}"] += PER_ROUND - bad
                ended[f"errored {row.instance_id}"] += bad
                world.workers.rows[key] = replace(
                    row,
                    n_served=ended[f"served {row.instance_id}"],
                    n_errored=ended[f"errored {row.instance_id}"],
                )
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(ROUND_S)


def _world_with_canary(ended: Counter[str]) -> tuple[World, int, int]:
    world = World(seed=4)
    group = world.add_group("llm", min_load=150.0)
    _run(world, 900, {}, ended)
    canary = world.add_autogroup(group.endpoint_id, weight=0.5)
    _run(world, 900, {}, ended)
    serving = {r.autogroup_id for r in world.workers.rows.values() if r.state is WorkerState.READY}
    assert canary.autogroup_id in serving
    return world, group.endpoint_id, canary.autogroup_id


def test_a_failing_canary_gets_weight_0_within_5_minutes_with_its_reason() -> None:
    ended: Counter[str] = Counter()
    world, endpoint_id, canary_id = _world_with_canary(ended)
    _run(world, 300, {canary_id: 1}, ended)
    found = world.owner_ports.groups.find_autogroup(canary_id)
    assert found is not None
    assert found.weight == 0.0
    (event,) = world.events.tail(
        f"endpoint:{endpoint_id}", limit=500, kinds=frozenset({"rollout_rolled_back"})
    )
    assert event.facts["symptom"] == "errors"
    assert event.facts["weight_before"] == 0.5
    assert f"autogroup {canary_id} takes no more requests" in event.message
    (owner,) = world.owner_ports.notifiers
    assert isinstance(owner, FakeNotifier)
    assert "rollout_rolled_back" in {notice.kind for notice in owner.sent}


def test_a_canary_that_fails_no_more_than_the_others_stays() -> None:
    ended: Counter[str] = Counter()
    world, _, canary_id = _world_with_canary(ended)
    _run(world, 300, {}, ended)
    found = world.owner_ports.groups.find_autogroup(canary_id)
    assert found is not None
    assert found.weight == 0.5
