"""Never act on doubt: whatever is wrong with the listing, nothing is rented, destroyed, forgotten.

C1: over 100 rounds with each kind of bad listing, routing goes on, one alarm is raised, and normal
work resumes on the first good listing.
"""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import WorkerState
from fakes.worlds.world import World
from tests.faults.stories import run_rounds, serving_world, set_group

BAD_LISTINGS = (
    "deprecated-list",
    "empty-list",
    "html-list",
    "page-missing",
    "token-loop",
    "duplicate-ids",
    "market-down",
    "429-storm",
)
N_WORKERS = 6


def _serving_world() -> tuple[World, int]:
    world = World(seed=3)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(min_load=300.0, max_workers=20, cold_workers=N_WORKERS)
    run_rounds(world, 8)
    ready = [w for w in world.workers.rows.values() if w.state is WorkerState.READY]
    assert len(ready) >= 3
    return world, group.endpoint_id


def _changes(world: World) -> list[Verb]:
    kinds = (Verb.CREATE, Verb.DESTROY, Verb.REBOOT)
    return [call.verb for call in world.market.calls if call.verb in kinds]


@pytest.mark.parametrize("fault", BAD_LISTINGS)
def test_a_bad_listing_changes_nothing_and_is_told_once(fault: str) -> None:
    world, endpoint_id = _serving_world()
    rows, n_changes = set(world.workers.rows), len(_changes(world))
    n_machines = len(world.market.instances)
    world.market.switch_on(fault, world.now)
    for n in range(100):
        world.ask(endpoint_id, n % 3)
        run_rounds(world, 1)
    assert len(_changes(world)) == n_changes
    assert set(world.workers.rows) == rows
    assert len(world.market.instances) == n_machines
    assert world.n_waiting == 0, "routing goes on"
    alarms = world.events.tail("account", limit=1000, kinds=frozenset({"inventory_unknown"}))
    assert len(alarms) == 1
    world.market.switch_off(fault, world.now)
    run_rounds(world, 1)
    over = world.events.tail("account", limit=1000, kinds=frozenset({"inventory_unknown_over"}))
    assert len(over) == 1, "the first good listing is believed"


def test_a_true_empty_listing_is_believed_after_two_that_agree() -> None:
    world = World()
    world.add_group()
    run_rounds(world, 1)
    assert not world.market.instances
    run_rounds(world, 1)
    assert world.market.instances


def test_machines_that_vanish_are_replaced_once_a_direct_look_confirms_it() -> None:
    world, endpoint_id = _serving_world()
    for instance_id in list(world.market.instances):
        world.market.destroy([instance_id], world.now)
    world.tick(30)
    world.ask(endpoint_id, 3)
    run_rounds(world, 12)
    assert {row.instance_id for row in world.workers.rows.values()} == set(world.market.instances)
    assert world.n_waiting == 0


def test_a_listing_that_lags_neither_loses_nor_doubles_a_rental() -> None:
    world = World(seed=5)
    world.market.switch_on("listing-lags", world.now, lag_s=45)
    group = world.add_group(min_load=100.0)
    world.ask(group.endpoint_id, 2)
    run_rounds(world, 40, every_s=10)
    assert {row.instance_id for row in world.workers.rows.values()} == set(world.market.instances)
    assert len([v for v in _changes(world) if v is Verb.CREATE]) <= 3
    assert world.n_waiting == 0


def test_each_machine_is_looked_at_itself_before_its_row_is_forgotten() -> None:
    """A bulk destroy that did half of it, then listings that show nothing at all."""
    world, endpoint_id = serving_world(3)
    world.market.switch_on("partial-bulk", world.now)
    world.market.switch_on("empty-list", world.now)
    set_group(world, endpoint_id, state=GroupState.DELETING)
    for _ in range(40):
        run_rounds(world, 1)
        rows = {row.instance_id for row in world.workers.rows.values()}
        assert set(world.market.instances) <= rows
    assert world.market.instances
    world.market.switch_off("partial-bulk", world.now)
    world.market.switch_off("empty-list", world.now)
    run_rounds(world, 10)
    assert not world.market.instances
