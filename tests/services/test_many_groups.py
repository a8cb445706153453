"""Thousands of groups: a round asks for all at once, and decides on those at rest in turns."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Pacing
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, GroupState, ScalingParams
from chalicelib.core.model.load import WaitingRequest
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.rounds.round import plan_round
from chalicelib.services.rounds.turns import MANY_GROUPS, N_TURNS, TURN_S
from fakes.bundles.faulty_ports import OutgoingCalls
from fakes.worlds.world import World

N_GROUPS = 1_200
AT_REST = ScalingParams(cold_workers=0)


def town(n_groups: int = N_GROUPS) -> World:
    """Groups that came to rest long ago."""
    world = World()
    template = world.add_group(cold_workers=0)
    autogroup = replace(world.owner_ports.groups.list_autogroups()[0], test_workers=0, revision=2)
    world.owner_ports.groups.put_autogroup(autogroup, expected_revision=1)
    for n in range(n_groups):
        add(world, template, autogroup, f"group {n}")
    for _ in range(2 + n_groups // MANY_GROUPS):  # each is seen once
        scaling_loop(world.ports, deadline_at=world.now + 1)
        world.clock.advance(60.0)
    world.clock.advance(7_200.0)
    scaling_loop(world.ports, deadline_at=world.now + 1)
    return world


def add(world: World, like: EndpointGroup, autogroup: Autogroup, name: str) -> int:
    groups = world.owner_ports.groups
    group = replace(like, endpoint_id=groups.next_id(), name=name, params=AT_REST)
    groups.add_group(group)
    id_ = groups.next_id()
    groups.add_autogroup(
        replace(autogroup, autogroup_id=id_, endpoint_id=group.endpoint_id, test_workers=0)
    )
    return group.endpoint_id


def decided_on(world: World) -> set[int]:
    """The groups that a round at this moment decides on."""
    market = PacedMarket(
        world.ports.marketplace, world.clock, Pacing({}, 0.0), waits_until=world.now
    )
    plan = plan_round(world.ports, market, world.ledger.account(), world.now)
    return {group.snapshot.group.endpoint_id for group in plan.groups}


@pytest.fixture(scope="module")
def resting() -> World:
    return town()


def test_a_round_over_many_groups_makes_as_few_calls_as_over_one(resting: World) -> None:
    calls = OutgoingCalls()
    scaling_loop(calls.wrap(resting.owner_ports), deadline_at=resting.now + 1)
    to_aws = Counter(name for name in calls.names if not name.startswith("marketplace"))
    assert sum(to_aws.values()) <= 12, to_aws


def test_groups_at_rest_have_their_turn_within_half_an_hour_and_few_at_once(
    resting: World,
) -> None:
    seen: set[int] = set()
    for _ in range(N_TURNS):
        now = decided_on(resting)
        assert len(now) <= 2 * N_GROUPS / N_TURNS
        seen |= now
        resting.clock.advance(TURN_S)
    assert len(seen) > N_GROUPS


def test_whoever_moves_is_decided_on_at_once(resting: World) -> None:
    groups = resting.owner_ports.groups
    in_turn = decided_on(resting)
    at_rest = [group for group in groups.list_groups() if group.endpoint_id not in in_turn]
    waits, wishes, goes, floors = at_rest[:4]
    request = WaitingRequest(
        endpoint_id=waits.endpoint_id,
        request_idx=5,
        cost=1.0,
        first_seen_at=resting.now,
        last_polled_at=resting.now,
    )
    resting.owner_ports.waiting.put(request)
    for group, change in (
        (wishes, {"params": ScalingParams(cold_workers=2)}),
        (goes, {"state": GroupState.DELETING}),
        (floors, {"params": ScalingParams(cold_workers=0, min_load=5.0)}),
    ):
        changed = replace(group, revision=group.revision + 1, **change)
        groups.put_group(changed, expected_revision=group.revision)
    new = add(resting, at_rest[4], groups.list_autogroups()[0], "new")
    wanted = {waits.endpoint_id, wishes.endpoint_id, goes.endpoint_id, floors.endpoint_id, new}
    assert wanted <= decided_on(resting)


def test_a_lost_memory_is_made_anew_a_part_each_round(resting: World) -> None:
    lease = resting.ledger.take_lease("test", resting.now, 1.0)
    assert lease is not None
    resting.ledger.write_blob(lease.fence, BLOB_NAME, RoundMemory().to_bytes())
    resting.ledger.release_lease(lease.fence)
    assert MANY_GROUPS <= len(decided_on(resting)) <= MANY_GROUPS + 50


def test_few_groups_are_all_decided_on(resting: World) -> None:
    del resting
    world = town(20)
    assert len(decided_on(world)) == 21
