"""`plan` says what the next round does: in random states, in shadow, under caps, in a panic."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.core.model.draft import draft_of
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.services.rounds.questions import answer
from fakes.worlds.world import World
from tests.faults.stories import all_events, run_rounds, set_group

MICRO = 1_000_000
TURNS_S = MIN_INTERVAL_S[Verb.SEARCH] + MARGIN_S


def plan(world: World, endpoint_id: int, **more: object) -> Mapping[str, Any]:
    return answer(world.ports, {"ask": "plan", "endpoint_id": endpoint_id, **more})


def names(actions: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, int]]:
    """What is acted on: an instance, or a machine that is rented."""
    return Counter(
        (one["action"], one["offer"]["machine_id"] if "offer" in one else one["instance_id"])
        for one in actions
    )


def deeds(
    world: World, since: float, endpoint_id: int
) -> tuple[Counter[tuple[str, int]], Counter[tuple[str, int]]]:
    """What rounds since then did for a group, and what Vast's pace put off, from its log."""
    found = [
        event.facts
        for event in all_events(world)
        if event.kind == "decision"
        and event.at > since
        and event.scope == f"endpoint:{endpoint_id}"
    ]
    put_off = [one for one in found if "turn" in str(one.get("not_done", ""))]
    return names(one for one in found if "not_done" not in one), names(put_off)


def grown_world(seed: int) -> tuple[World, EndpointGroup]:
    """A group some way into its life: with load or none, near its caps or not, frozen or not."""
    dice = random.Random(seed)
    world = World(seed=seed)
    run_rounds(world, 3)
    group = world.add_group(
        cold_workers=dice.randrange(4),
        max_workers=dice.choice((1, 3, 8)),
        min_load=dice.choice((0.0, 0.0, 150.0)),
        max_usd_per_hour=dice.choice((None, 0.3, 0.9, 3.0)),
    )
    if dice.random() < 0.5:
        world.add_autogroup(group.endpoint_id, test_workers=3)
    for _ in range(dice.randrange(4)):
        world.ask(group.endpoint_id, dice.randrange(6))
        run_rounds(world, dice.randrange(1, 12))
    if dice.random() < 0.5:
        cap = dice.choice((0.2, 0.7, 1.5))
        world.ledger.set_caps({"caps_microusd_per_hour": round(cap * MICRO)})
    if dice.random() < 0.2:
        world.ledger.set_flags(is_frozen=True)
    world.tick(310.0)  # no pause of the scaler's searches is left
    world.ask(group.endpoint_id, dice.randrange(8))
    return world, group


@pytest.mark.parametrize("seed", range(40))
def test_the_plan_is_what_the_next_round_does(seed: int) -> None:
    world, group = grown_world(seed)
    foretold = plan(world, group.endpoint_id)
    # The question took Vast's turns; the next round has its own.
    world.clock.advance(TURNS_S)
    since = world.now - 1e-6
    run_rounds(world, 1, every_s=0.0)
    done, put_off = deeds(world, since, group.endpoint_id)
    told = names(foretold["actions"])
    assert told == done + put_off


def known_world() -> World:
    """Without groups; its rounds believe Vast's empty list."""
    world = World(seed=3)
    run_rounds(world, 3)
    return world


def test_in_shadow_the_plan_names_what_would_be_rented_and_nothing_is() -> None:
    world = known_world()
    group = world.add_group(cold_workers=1)
    set_group(world, group.endpoint_id, shadow=True)
    foretold = plan(world, group.endpoint_id)
    assert [one["action"] for one in foretold["actions"]] == ["rent"]
    assert foretold["is_shadow"]
    assert "no_offers" not in {note["code"] for note in foretold["notes"]}
    run_rounds(world, 3)
    assert not world.market.instances
    assert any(event.message.startswith("Would be renting") for event in all_events(world))


def test_what_a_cap_refuses_is_named_as_refused_with_the_cap() -> None:
    world = known_world()
    group = world.add_group(cold_workers=2, max_usd_per_hour=0.0001)
    world.ask(group.endpoint_id, 3)
    foretold = plan(world, group.endpoint_id)
    assert foretold["actions"] == []
    codes = {note["code"] for note in foretold["notes"]}
    assert foretold["refused"] or codes & {"cap_usd", "group_cap_hour"}
    (own,) = [cap for cap in foretold["caps"] if cap["cap"] == "group_cap_hour"]
    assert own == {"cap": "group_cap_hour", "usd": 0.0001, "used_usd": 0.0}


def test_frozen_and_in_a_panic_the_plan_says_so() -> None:
    world = known_world()
    group = world.add_group(cold_workers=1)
    run_rounds(world, 6)
    world.ledger.set_flags(is_frozen=True)
    world.ask(group.endpoint_id, 9)
    frozen = plan(world, group.endpoint_id)
    assert (frozen["actions"], frozen["is_frozen"]) == ([], True)
    world.ledger.set_flags(is_frozen=False, is_panicking=True)
    panic = plan(world, group.endpoint_id)
    assert {one["action"] for one in panic["actions"]} == {"destroy"}
    assert len(panic["actions"]) == len(world.market.instances)


def test_a_draft_is_planned_as_if_it_were_there_and_leaves_no_trace() -> None:
    world = known_world()
    stored = world.add_group("other")
    model = replace(stored, endpoint_id=0, name="new")
    [autogroup] = world.owner_ports.groups.list_autogroups(stored.endpoint_id)
    drafted = replace(autogroup, autogroup_id=0, endpoint_id=0, test_workers=2)
    foretold = plan(world, 0, draft=draft_of(model, [drafted]), offers_for={"search": {}})
    rentals = [one for one in foretold["actions"] if one["action"] == "rent"]
    assert len(rentals) == 2
    assert all(one["once_usd"] > 0 and one["worst_usd_per_hour"] > 0 for one in rentals)
    assert foretold["found"]["offers"]
    assert [g.name for g in world.owner_ports.groups.list_groups()] == ["other"]


def test_a_search_without_offers_is_told_the_nearest_that_has_some() -> None:
    world = known_world()
    asked: dict[str, Any] = {"ask": "offers", "hints": True}
    asked["search"] = {"gpu_name": {"eq": "RTX4090"}}
    assert "nearest: gpu_name=RTX_4090" in str(answer(world.ports, asked)["hint"])
    asked["search"] = {"gpu_ram": {"gte": 9e9}, "num_gpus": {"eq": 1}}
    assert "none has gpu_ram gte 9e+09" in str(answer(world.ports, asked)["hint"])


def test_the_random_states_hold_rentals_starts_refusals_and_rest() -> None:
    """What the law above is tried on: all that can happen does."""
    seen: set[str] = set()
    for seed in range(40):
        world, group = grown_world(seed)
        foretold = plan(world, group.endpoint_id)
        seen |= {one["action"] for one in foretold["actions"]} or {"rest"}
        seen |= {"refused" for _ in foretold["refused"]}
    assert {"rent", "start", "drain", "refused", "rest"} <= seen
