"""Days on which one thing goes wrong: somebody else serves, and the owner is told why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.troubles import standing
from chalicelib.core.model.market import NO_PAGES, InstanceListing, InstanceRecord
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.marketplace import CreateRequest, RateLimitedError, RefusedError
from fakes.worlds.marketplace import FakeMarketplace
from fakes.worlds.world import PROMPT_MARKET, World
from tests.faults.stories import all_events, count_calls, run_rounds
from tests.stories.day import Day


class RefusingMarketplace(FakeMarketplace):
    """Refuses what is tried first, and that offer for ever."""

    refused: int = 0

    def create_instance(self, request: CreateRequest) -> int:
        self.refused = self.refused or request.offer_id
        if request.offer_id == self.refused:
            raise RefusedError("invalid_args", "disk larger than available")
        return super().create_instance(request)


def troubles(world: World) -> Mapping[str, str]:
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    return {trouble.kind: trouble.message for trouble in standing(memory.troubles, world.now)}


def test_one_offer_that_is_always_refused_stops_nobody() -> None:
    world = World(seed=2)
    refusing = RefusingMarketplace(world.market, world.clock)
    world.ports = replace(world.ports, marketplace=refusing)
    group = world.add_group(cold_workers=0)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 8)
    assert refusing.refused
    assert world.n_waiting == 0
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    assert f"offer:{refusing.refused}" in memory.failures


def test_when_every_offer_is_refused_the_tries_are_few_and_the_owner_hears_vasts_words() -> None:
    world = World(seed=2)
    refusal = RefusedError("invalid_args", "disk larger than available")
    world.marketplace.fail_next(Verb.CREATE, refusal, times=10_000)
    group = world.add_group(cold_workers=0)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 120, every_s=5.0)
    assert "disk larger than available" in troubles(world)["offers_refused"]
    told = [event for event in all_events(world) if event.kind == "offers_refused"]
    assert len(told) == 1


class OddListing(FakeMarketplace):
    """Lists every machine as it is, but for some fields of the first, or of all."""

    odd: Callable[[InstanceRecord], InstanceRecord]

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        listing = super().list_instances(so_far, ends_at=ends_at)
        return replace(listing, instances=tuple(self.odd(one) for one in listing.instances))


def odd_world(odd: Callable[[InstanceRecord], InstanceRecord]) -> World:
    world = World(seed=2)
    marketplace = OddListing(world.market, world.clock)
    marketplace.odd = odd
    world.ports = replace(world.ports, marketplace=marketplace)
    return world


def test_a_machine_without_an_address_is_replaced_and_its_host_remembered() -> None:
    hidden: list[int] = []

    def behind_nat(record: InstanceRecord) -> InstanceRecord:
        if not hidden:
            hidden.append(record.instance_id)
        is_hidden = record.instance_id in hidden
        return replace(record, public_ipaddr="192.168.1.20") if is_hidden else record

    world = odd_world(behind_nat)
    group = world.add_group(min_load=50.0, cold_workers=0)
    run_rounds(world, 20, every_s=5.0)
    (first,) = hidden
    machine_id = world.market.instances[first].machine.machine_id
    assert world.workers.rows[group.endpoint_id, first].state is WorkerState.READY
    run_rounds(world, 60, every_s=5.0)
    assert first not in world.market.instances
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    assert str(machine_id) in memory.reputation.hosts
    assert [e.kind for e in all_events(world) if e.kind.startswith("not_usable")] == [
        "not_usable",
        "not_usable_over",
    ]
    assert any(row.url for row in world.workers.rows.values()), "another one serves"


def test_one_lost_answer_does_not_forbid_all_other_rentals() -> None:
    world = World(seed=2)
    world.market.switch_on("create-timeout-not-rented", world.now, times=2)
    group = world.add_group(cold_workers=0)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 60, every_s=5.0)
    assert world.n_waiting == 0
    assert count_calls(world, Verb.CREATE) <= 4


@pytest.mark.parametrize(
    ("n_lost", "most", "minutes"), [(2, 1, 5), (3, 1, 9), (5, 4, 6), (8, 4, 11)]
)
def test_lost_answers_in_a_row_delay_service_by_minutes(
    n_lost: int, most: int, minutes: int
) -> None:
    """The account has no other machine: only lists of nothing can say what became of them."""
    day = Day()
    day.world.market.switch_on("create-timeout-not-rented", day.world.now, times=n_lost)
    group = day.group(cold_workers=0, max_workers=most)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(minutes, rounds=6)
    assert day.world.n_waiting == 0
    day.minutes(20)
    assert day.troubles() == {}


def test_a_lost_answer_is_no_refusal_any_more_once_its_machine_is_found() -> None:
    """For ten minutes more the owner was told that the rental had come to nothing."""
    day = Day()
    day.world.market.switch_on("create-timeout-rented", day.world.now, times=1)
    group = day.group(cold_workers=0)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(6, rounds=4)
    assert (day.world.n_waiting, day.calls(Verb.CREATE)) == (0, 1)
    assert day.troubles() == {}


def test_a_lost_rental_whose_label_is_gone_too_counts_on_and_is_told_until_it_is_labelled() -> None:
    hidden: list[str] = []

    def unlabelled(record: InstanceRecord) -> InstanceRecord:
        return replace(record, label="") if record.label in hidden else record

    world = odd_world(unlabelled)
    world.market.switch_on("create-timeout-rented", world.now, times=1)
    group = world.add_group(cold_workers=0)
    world.ask(group.endpoint_id, 1)
    while not world.market.instances:
        run_rounds(world, 1, every_s=5.0)
    (lost,) = world.market.instances.values()
    hidden.append(lost.label)
    run_rounds(world, 60, every_s=5.0)
    assert world.n_waiting == 0, "another one serves"
    assert f"instance {lost.instance_id} appeared" in troubles(world)["label_changed"]
    assert [one.is_open for one in world.ledger.by_token.values()].count(True) == 1, "it bills"
    hidden.clear()
    run_rounds(world, 12, every_s=5.0)
    assert (group.endpoint_id, lost.instance_id) in world.workers.rows
    assert "label_changed" not in troubles(world)


def test_rentals_whose_answer_was_lost_are_named_where_they_fill_max_workers() -> None:
    day = Day()
    day.world.market.switch_on("create-timeout-not-rented", day.world.now)
    group = day.group(cold_workers=0, max_workers=1)
    day.world.ask(group.endpoint_id, 1)
    day.minutes(8, rounds=4)
    words = day.troubles()["workers_capped"]
    assert "1 rental whose answer was lost still counted" in words


@pytest.mark.parametrize("asks", [0, 1])
def test_offers_that_all_end_within_the_hour_are_named_also_where_only_a_floor_wants_one(
    asks: int,
) -> None:
    day = Day(config=replace(PROMPT_MARKET, contract_days=(0.03, 0.04)))
    group = day.group(cold_workers=0, min_load=0.0 if asks else 50.0)
    day.world.ask(group.endpoint_id, asks)
    day.minutes(8, rounds=4)
    assert day.calls(Verb.CREATE) == 0
    words = day.troubles()["no_offers"]
    assert "end within the hour" in words
    assert day.told("no_offers") == ["no_offers"]


@pytest.mark.parametrize("verb", [Verb.SEARCH, Verb.TEMPLATE])
def test_a_limit_of_calls_that_lasts_is_named_until_a_search_comes_through(verb: Verb) -> None:
    day = Day()
    limited = RateLimitedError("search_quota_exceeded: 100 searches a day", 300.0)
    day.world.marketplace.fail_next(verb, limited, times=3)
    group = day.group(cold_workers=0, min_load=50.0)
    day.minutes(8, rounds=4)
    assert "search_quota_exceeded" in day.troubles()["template_unreadable"]
    day.minutes(15, rounds=4)
    assert day.n(WorkerState.READY, of=group) == 1
    assert day.told("template_unreadable") == ["template_unreadable", "template_unreadable_over"]


@pytest.mark.parametrize("minutes", [50, 65, 90])
def test_contracts_that_end_soon_are_not_churned(minutes: int) -> None:
    """Offers that do not say so, and contracts that end soon after each rental."""

    def short(record: InstanceRecord) -> InstanceRecord:
        return replace(record, ends_at=record.started_at + minutes * 60)

    world = odd_world(short)
    world.add_group(min_load=50.0, max_workers=3, cold_workers=0)
    run_rounds(world, 240, every_s=60.0)
    n_lives = 240 / minutes
    assert n_lives <= count_calls(world, Verb.CREATE) <= 3 * n_lives + 3


@pytest.mark.parametrize("are_all_at_once", [False, True])
def test_contracts_too_short_to_earn_a_start_are_not_churned_and_their_hosts_are_known(
    are_all_at_once: bool,
) -> None:
    """Offers of months, contracts of 25 minutes: 22 machines were rented in twelve of them."""
    began_at: list[float] = []

    def short(record: InstanceRecord) -> InstanceRecord:
        began_at.append(record.started_at)
        return replace(record, ends_at=began_at[0 if are_all_at_once else -1] + 25 * 60.0)

    world = odd_world(short)
    group = world.add_group(min_load=50.0, max_workers=4, cold_workers=0)
    run_rounds(world, 24, every_s=60.0)
    assert count_calls(world, Verb.CREATE) <= 4
    assert any(row.state is WorkerState.READY for row in world.workers.rows.values())
    memory = RoundMemory.from_bytes(world.ledger.read_blob(BLOB_NAME))
    hosts = {row.host_id for row in world.workers.rows.values()}
    assert {f"host:{host}" for host in hosts} <= set(memory.failures)
    world.ask(group.endpoint_id, 1)
    run_rounds(world, 2, every_s=30.0)
    assert world.n_waiting == 0


@pytest.mark.parametrize(
    ("setting", "cause"),
    [
        ({"state": "paused"}, "none of its autogroups is active"),
        ({"weight": 0.0, "test_workers": 0}, "have weight 0"),
        (None, "has no autogroup"),
    ],
)
def test_an_owners_setting_that_lets_nobody_serve_is_named(
    setting: dict[str, object] | None, cause: str
) -> None:
    day = Day()
    group = day.group()
    if setting is None:
        (autogroup,) = day.world.owner_ports.groups.list_autogroups(group.endpoint_id)
        day.world.owner_ports.groups.remove_autogroup(autogroup.autogroup_id)
        day.world.publish()
    else:
        day.change_autogroup(group, **setting)
    day.world.ask(group.endpoint_id, 3)
    day.minutes(5, rounds=4)
    assert cause in day.troubles()["requests_wait"]
    assert day.told("requests_wait") == ["requests_wait"]
