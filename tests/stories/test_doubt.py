"""Days on which Vast cannot say what is there: a doubt is one machine's, and it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import pytest

from chalicelib.core.fleet.pacing import Pacing, Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.market import NO_PAGES, InstanceListing
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.marketplace import MarketplaceUnavailableError, RefusedError
from chalicelib.services.market.paced_market import PacedMarket
from fakes.worlds.marketplace import FakeMarketplace
from fakes.worlds.world import World
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    params_of,
    run_rounds,
    serving_world,
    set_group,
)

SILENT = MarketplaceUnavailableError("410 deprecated_endpoint")


class HidingMarketplace(FakeMarketplace):
    """Hides machines from its list; all of it, if told so, cannot be believed."""

    hidden: frozenset[int] = frozenset()
    problem: str = ""

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        listing = super().list_instances(so_far, ends_at=ends_at)
        shown = tuple(one for one in listing.instances if one.instance_id not in self.hidden)
        is_complete = listing.is_complete and not self.problem
        return replace(listing, instances=shown, is_complete=is_complete, problem=self.problem)


def hiding(world: World) -> HidingMarketplace:
    market = HidingMarketplace(world.market, world.clock)
    world.ports = replace(world.ports, marketplace=market)
    return market


def told(world: World, kind: str) -> list[str]:
    return [event.kind for event in all_events(world) if event.kind.startswith(kind)]


def raise_floor(world: World, endpoint_id: int, min_load: float) -> None:
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), min_load=min_load))


@pytest.mark.parametrize("error", [SILENT, RefusedError("http_404", "<html>")])
def test_one_machine_that_nobody_can_look_at_stops_nothing_and_is_settled_in_ten_minutes(
    error: Exception,
) -> None:
    world, endpoint_id = serving_world(2)
    lost = min(in_state(world, WorkerState.READY))
    market = hiding(world)
    world.market.destroy([lost], world.now)
    market.fail_next(Verb.SHOW, error, times=10_000)
    before = count_calls(world, Verb.CREATE)
    run_rounds(world, 16)
    assert count_calls(world, Verb.CREATE) > before, "it is substituted at once"
    assert (endpoint_id, lost) in world.workers.rows, "and counts on against the caps"
    run_rounds(world, 40)
    assert (endpoint_id, lost) not in world.workers.rows
    assert told(world, "machine_unsettled") == ["machine_unsettled", "machine_unsettled_over"]
    assert told(world, "inventory_unknown") == []


def test_a_lost_machine_that_is_alone_in_the_account_is_told_and_replaced() -> None:
    world = World(seed=4)
    group = world.add_group(min_load=50.0, cold_workers=0, max_workers=2)
    run_rounds(world, 10)
    (lost,) = in_state(world, WorkerState.READY)
    market = hiding(world)
    world.market.destroy([lost], world.now)
    market.fail_next(Verb.SHOW, SILENT, times=10_000)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 24)
    assert world.n_waiting == 0
    assert "machine_unsettled" in told(world, "machine_unsettled")


def test_a_machine_that_only_the_list_hides_goes_on_serving_and_stops_nobody() -> None:
    world, endpoint_id = serving_world(3)
    market = hiding(world)
    hidden = min(in_state(world, WorkerState.READY))
    market.hidden = frozenset({hidden})
    run_rounds(world, 80)
    assert world.workers.rows[endpoint_id, hidden].state is WorkerState.READY
    assert told(world, "inventory_unknown") == []
    before = count_calls(world, Verb.CREATE)
    raise_floor(world, endpoint_id, 400.0)
    run_rounds(world, 12)
    assert count_calls(world, Verb.CREATE) > before


def test_a_listing_that_hides_several_is_doubted_and_after_ten_minutes_renting_goes_on() -> None:
    world, endpoint_id = serving_world(3)
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), max_workers=9))
    market = hiding(world)
    market.hidden = frozenset(world.market.instances)
    run_rounds(world, 30)
    before = count_calls(world, Verb.CREATE)
    raise_floor(world, endpoint_id, 500.0)
    run_rounds(world, 8)
    assert count_calls(world, Verb.CREATE) == before, "nothing is rented on a fresh doubt"
    words = next(e.message for e in all_events(world) if e.kind == "inventory_unknown")
    assert "nothing is rented or returned until a whole list comes" in words
    run_rounds(world, 20)
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    lasting = {trouble.kind: trouble.message for trouble in memory.troubles.values()}
    assert "renting goes on with every machine counted at its worst" in lasting["inventory_unknown"]
    assert count_calls(world, Verb.CREATE) > before
    assert len(world.market.instances) <= 9
    assert told(world, "inventory_unknown") == ["inventory_unknown"]


def test_in_a_long_doubt_the_caps_hold_with_every_machine_at_its_worst() -> None:
    world, endpoint_id = serving_world(3)
    stopped = replace(params_of(world, endpoint_id), min_load=50.0, cold_workers=2)
    set_group(world, endpoint_id, params=replace(stopped, max_workers=9))
    run_rounds(world, 140)
    assert len(in_state(world, WorkerState.STOPPED)) == 2
    running = sum(row.usd_per_hour for row in world.workers.rows.values())
    world.ledger.set_caps({"caps_microusd_per_hour": int(running * 1.2e6)})
    market = hiding(world)
    market.problem = "totals_disagree"
    run_rounds(world, 60)
    before = count_calls(world, Verb.CREATE)
    raise_floor(world, endpoint_id, 900.0)
    run_rounds(world, 20)
    assert count_calls(world, Verb.CREATE) == before, "the stopped ones might run, unseen"


def test_in_a_long_doubt_a_machine_is_returned_once_a_look_finds_it() -> None:
    world, endpoint_id = serving_world(3)
    market = hiding(world)
    market.problem = "totals_disagree"
    run_rounds(world, 50)
    set_group(world, endpoint_id, state=GroupState.DELETING)
    market.fail_next(Verb.SHOW, SILENT, times=20)
    run_rounds(world, 6)
    assert count_calls(world, Verb.DESTROY) == 0, "nobody could look"
    run_rounds(world, 60)
    assert not world.market.instances
    assert not world.workers.rows
    market.problem = ""
    run_rounds(world, 4)
    assert world.owner_ports.groups.list_groups() == []


def test_a_key_that_lacks_a_right_is_told_until_it_has_it() -> None:
    world = World(seed=4)
    world.marketplace.fail_next(
        Verb.CREATE, RefusedError("not_allowed", "instance_write is needed"), times=12
    )
    group = world.add_group(cold_workers=0)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 60, every_s=10.0)
    assert told(world, "key_lacks_right") == ["key_lacks_right", "key_lacks_right_over"]
    assert world.n_waiting == 0


def test_a_right_that_one_call_shows_again_is_not_missed_for_the_sake_of_another() -> None:
    """A start was refused once, by a firewall before Vast; the next may be wanted in days."""
    world, _ = serving_world(1)
    market = PacedMarket(world.marketplace, world.clock, Pacing({}), waits_until=world.now)
    before = {"start": "http_403", "search": "http_403", "list": "http_403", "show": "http_403"}
    assert market.denied_now(before) == before
    market.call(Verb.LIST, lambda vast: vast.list_instances())  # raises nothing, and proves nothing
    assert market.denied_now(before) == before
    market.call(Verb.DESTROY, lambda vast: vast.destroy_instances([]))
    assert set(market.denied_now(before)) == {"search", "list", "show"}
    market.call(Verb.SHOW, lambda vast: vast.find_instance(1))
    assert set(market.denied_now(before)) == {"search"}


def test_a_refused_listing_names_the_key_and_all_of_it_is_over_with_a_new_one() -> None:
    world, endpoint_id = serving_world(1)
    market = hiding(world)
    market.problem = "RefusedError: auth_error: Invalid user key"
    market.fail_next(Verb.TEMPLATE, RefusedError("auth_error", "Invalid user key"), times=99)
    raise_floor(world, endpoint_id, 200.0)
    run_rounds(world, 45)  # in the long doubt it is asked for a template, too
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    assert set(memory.denied) == {"list", "template"}
    assert "auth_error" in next(e.message for e in all_events(world) if e.kind == "key_lacks_right")
    market.problem = ""
    run_rounds(world, 2)
    assert told(world, "key_lacks_right")[-1] == "key_lacks_right_over"


class CutMarketplace(FakeMarketplace):
    """Its list takes three calls, whichever process makes them."""

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        n_calls = int(str(so_far.get("n_calls", 0))) + 1
        listing = super().list_instances()
        if n_calls == 3:
            return listing
        return replace(listing, is_complete=False, problem="deadline", so_far={"n_calls": n_calls})


def test_a_list_that_takes_three_rounds_goes_on_in_processes_that_know_nothing() -> None:
    world, endpoint_id = serving_world(2)
    raise_floor(world, endpoint_id, 400.0)
    before = count_calls(world, Verb.CREATE)
    for _ in range(6):
        world.ports = replace(world.ports, marketplace=CutMarketplace(world.market, world.clock))
        run_rounds(world, 1)
    assert count_calls(world, Verb.CREATE) > before
    assert told(world, "inventory_unknown") == []


def test_a_stop_that_no_list_can_show_is_not_taken_for_one_that_never_happened() -> None:
    """An hour without a list: the machines that were just stopped are still there after it."""
    world, endpoint_id = serving_world(3)
    group = world.ports.groups.find_group(endpoint_id)
    assert group is not None
    params = replace(group.params, min_load=0.0, cold_workers=3)
    set_group(world, endpoint_id, params=params)
    market = hiding(world)
    for _ in range(400):
        if in_state(world, WorkerState.STOPPING):
            break
        run_rounds(world, 1, every_s=15.0)
    stopping = set(in_state(world, WorkerState.STOPPING))
    assert stopping
    market.problem = "totals_disagree"
    run_rounds(world, 240, every_s=15.0)
    assert stopping <= set(world.market.instances)
    market.problem = ""
    run_rounds(world, 8, every_s=15.0)
    assert stopping & set(in_state(world, WorkerState.STOPPED))
