"""What the owner may rely on: breakers, freeze, restore, look-alikes, plan and shadow mode."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.rounds.questions import answer
from fakes.bundles.faulty_ports import OutgoingCalls
from fakes.market.market_config import CALM
from fakes.worlds.world import PROMPT_MARKET, World
from tests.faults.stories import (
    all_events,
    count_calls,
    in_state,
    params_of,
    run_rounds,
    serving_world,
    set_group,
)


def test_r21_a_template_that_only_fails_stops_being_rented() -> None:
    world = World(replace(PROMPT_MARKET, odds=CALM), seed=8)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(min_load=300.0, max_workers=4)
    world.ask(group.endpoint_id, 3)
    world.boot_error = "HF_TOKEN must be set"
    run_rounds(world, 240)
    alarms = [e for e in all_events(world) if e.kind == "breaker_open"]
    assert len(alarms) == 1
    assert "HF_TOKEN" in alarms[0].message
    n_rented = len(world.market.bill(world.now).by_instance)
    assert n_rented <= 12
    assert world.market.bill(world.now).total_usd < 10


def test_r22_freeze_stops_renting_and_returning_but_not_routing() -> None:
    world, endpoint_id = serving_world(2)
    world.ledger.set_flags(is_frozen=True)
    changes = (count_calls(world, Verb.CREATE), count_calls(world, Verb.DESTROY))
    set_group(world, endpoint_id, params=replace(params_of(world, endpoint_id), min_load=400.0))
    for _ in range(20):
        world.ask(endpoint_id, 1)
        run_rounds(world, 1)
    assert (count_calls(world, Verb.CREATE), count_calls(world, Verb.DESTROY)) == changes
    assert world.n_waiting == 0
    world.ledger.set_flags(is_frozen=False)
    run_rounds(world, 10)
    assert len(world.market.instances) > 2


def test_r23_machines_are_claimed_again_by_their_labels_after_the_tables_are_lost() -> None:
    world, _ = serving_world(2)
    machines = set(world.market.instances)
    n_creates = count_calls(world, Verb.CREATE)
    world.workers.rows.clear()
    world.ledger.by_token.clear()
    world.ledger._blobs.clear()
    run_rounds(world, 6)
    assert set(in_state(world, WorkerState.READY)) == machines
    assert count_calls(world, Verb.CREATE) == n_creates


def test_r23_restored_machines_are_reached_as_their_template_says() -> None:
    world = World(seed=4)
    env = "-e USE_SSL=false -e WORKER_PORT=4000"
    plain = world.market.templates.add({"name": "plain", "image": "x:1", "env": env}, world.now)
    group = world.add_group(min_load=75.0)
    world.owner_ports.groups.remove_autogroup(group.endpoint_id + 1)
    world.add_autogroup(group.endpoint_id, template_hash=str(plain["hash_id"]))
    run_rounds(world, 10)
    urls = {row.instance_id: row.url for row in world.workers.rows.values()}
    assert all(url.startswith("http://") for url in urls.values())
    world.workers.rows.clear()
    world.ledger.by_token.clear()
    world.ledger._blobs.clear()
    world.market.switch_on("429-storm", world.now, times=2)  # not at the first attempt
    run_rounds(world, 6)
    assert urls
    assert {row.instance_id: row.url for row in world.workers.rows.values()} == urls


def test_look_alike_labels_are_never_touched() -> None:
    world, _ = serving_world(1)
    offer = world.market.offers.search({"gpu_name": {"eq": "H100 SXM"}}, world.now)[0]
    body = {"label": f"llm - {'0' * 16}AAAAAAAA", "image": "x", "disk": 10.0, "env": {}}
    foreign = world.market.create(int(str(offer["id"])), body, world.now).instance_id
    world.ledger.set_flags(is_panicking=True)
    run_rounds(world, 20)
    assert set(world.market.instances) == {foreign}


def test_c7_a_plan_changes_nothing_and_the_next_round_does_just_that() -> None:
    world = World(seed=9)
    group = world.add_group(min_load=150.0)
    run_rounds(world, 1)
    calls = OutgoingCalls()
    plan = answer(calls.wrap(world.owner_ports), {"ask": "plan", "endpoint_id": group.endpoint_id})
    reading = {"read_blob", "account", "intents", "list", "list_groups", "list_autogroups", "mac"}
    reading |= {"list_instances", "search_offers", "find_template", "find_instance"}
    turns = {"claim_turn", "book_turn"}  # Vast's pacing is shared with the rounds
    assert {name.partition(".")[2] for name in calls.names} <= reading | turns
    actions = plan["actions"]
    assert isinstance(actions, list)
    planned = [row["offer"]["offer_id"] for row in actions if "offer" in row]
    world.clock.advance(7)  # the plan's search took the turn of the round's
    scaling_loop(world.ports, deadline_at=world.now + 1)
    created = [c.detail.split()[0] for c in world.market.calls if c.verb is Verb.CREATE]
    assert planned
    assert created == [str(offer_id) for offer_id in planned]


def test_shadow_mode_decides_and_does_nothing() -> None:
    world = World(seed=9)
    group = world.add_group(min_load=150.0)
    set_group(world, group.endpoint_id, shadow=True)
    run_rounds(world, 6)
    assert not world.market.instances
    decisions = [e for e in all_events(world) if e.kind == "decision"]
    assert decisions
    assert all(event.facts.get("shadow") for event in decisions)
