"""A freeze: nothing but what the owner ordered is done."""

from __future__ import annotations

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import AfterDrain, WorkerState
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    run_rounds,
    serving_world,
    set_group,
)

CHANGES = (Verb.CREATE, Verb.START, Verb.STOP, Verb.REBOOT, Verb.DESTROY)


def test_frozen_nothing_is_changed_at_vast_even_above_a_cap() -> None:
    world, _ = serving_world(2)
    world.ledger.set_flags(is_frozen=True)
    world.ledger.set_caps({"caps_microusd_per_hour": 1})
    before = [count_calls(world, verb) for verb in CHANGES]
    run_rounds(world, 20)
    assert [count_calls(world, verb) for verb in CHANGES] == before
    assert len(in_state(world, WorkerState.READY)) >= 2
    told = [event for event in all_events(world) if event.kind == "frozen_above_cap"]
    assert len(told) == 1
    assert "an hour goes on being spent" in told[0].message
    assert told[0].facts["usd_per_hour"] == world.ledger.account().committed_microusd_per_hour / 1e6
    assert not [event for event in all_events(world) if event.kind == "cap_reached"]


def test_a_drain_ends_without_a_stop_while_frozen() -> None:
    world, _ = serving_world(2)
    row = next(iter(world.workers.rows.values()))
    draining = {"state": WorkerState.DRAINING, "after_drain": AfterDrain.STOP}
    world.workers.update(row.endpoint_id, row.instance_id, draining, if_state=row.state)
    world.ledger.set_flags(is_frozen=True)
    run_rounds(world, 3)
    assert row.instance_id in in_state(world, WorkerState.READY)


def test_what_the_owner_deletes_goes_while_frozen() -> None:
    world, endpoint_id = serving_world(2)
    world.ledger.set_flags(is_frozen=True)
    set_group(world, endpoint_id, state=GroupState.DELETING)
    run_rounds(world, 30)
    assert not world.market.instances
