"""Short words for stories in a world of fakes: rounds, states, calls, owner's changes."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import ScalingParams
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.money.account import Account
from chalicelib.ports.event_log import Event
from chalicelib.services.rounds.loop import scaling_loop
from fakes.market.market_config import MarketConfig
from fakes.worlds.world import PROMPT_MARKET, World


def run_rounds(world: World, n: int, every_s: float = 15.0) -> None:
    for _ in range(n):
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.tick(every_s)


def serving_world(
    n: int = 2, seed: int = 4, config: MarketConfig = PROMPT_MARKET
) -> tuple[World, int]:
    """A world with n ready workers and a cap far away."""
    world = World(config, seed=seed)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(min_load=75.0 * n, max_workers=n + 3, cold_workers=0)
    run_rounds(world, 10)
    assert len(in_state(world, WorkerState.READY)) >= n
    return world, group.endpoint_id


def take_lease(world: World) -> tuple[int, Account]:
    lease = world.ledger.take_lease("test", world.now, 60.0)
    assert lease is not None
    return lease.fence, lease.account


def in_state(world: World, *states: WorkerState) -> list[int]:
    return [row.instance_id for row in world.workers.rows.values() if row.state in states]


def count_calls(world: World, verb: Verb) -> int:
    return sum(1 for call in world.market.calls if call.verb is verb)


def rows_are_machines(world: World) -> bool:
    return {row.instance_id for row in world.workers.rows.values()} == set(world.market.instances)


def set_group(world: World, endpoint_id: int, **changes: object) -> None:
    groups = world.owner_ports.groups
    group = groups.find_group(endpoint_id)
    assert group is not None
    after = replace(group, **changes, revision=group.revision + 1)  # type: ignore[arg-type]
    groups.put_group(after, expected_revision=group.revision)
    world.publish()


def params_of(world: World, endpoint_id: int) -> ScalingParams:
    group = world.owner_ports.groups.find_group(endpoint_id)
    assert group is not None
    return group.params


def all_events(world: World) -> list[Event]:
    scopes = {"account"}
    scopes |= {f"endpoint:{g.endpoint_id}" for g in world.owner_ports.groups.list_groups()}
    scopes |= {f"autogroup:{a.autogroup_id}" for a in world.owner_ports.groups.list_autogroups()}
    return [e for scope in sorted(scopes) for e in world.events.tail(scope, limit=10_000)]
