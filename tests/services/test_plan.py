"""`plan` says what the next round does: in random states, in doubt, under caps, in a panic."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from chalicelib.core.fleet.pacing import MARGIN_S, MIN_INTERVAL_S, Verb
from chalicelib.core.model.draft import draft_of
from chalicelib.core.model.endpoint_group import EndpointGroup, Interruptible
from chalicelib.core.scaling.actions import RentOffer, StopWorker
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.ports.marketplace import MarketplaceUnavailableError
from chalicelib.services.owner.preview import offers_question
from chalicelib.services.rounds.questions import answer
from chalicelib.services.rounds.turns import each_offer_once
from fakes.worlds.world import World
from tests.core.test_scaling import make_offer
from tests.faults.stories import all_events, run_rounds, set_group
from tests.stories.test_doubt import hiding

MICRO = 1_000_000
TURNS_S = MIN_INTERVAL_S[Verb.SEARCH] + MARGIN_S
SEEDS = range(40)
TELLING = (0, 3, 5, 10, 14)  # of these, some that hold between them all that can happen
BIDS_MORE = 32
_VASTS_OWN = re.compile("turn|resources unavailable")  # its pace; somebody else bids still more


def plan(world: World, endpoint_id: int, **more: object) -> Mapping[str, Any]:
    return answer(world.ports, {"ask": "plan", "endpoint_id": endpoint_id, **more})


def plans(world: World, **more: object) -> dict[int, Mapping[str, Any]]:
    """Of all groups, by their ids. A question takes Vast's turns; the next round has its own."""
    rows = answer(world.ports, {"ask": "plan", **more})["plans"]
    world.clock.advance(TURNS_S)
    world.serve_waiting()
    return {row["endpoint_id"]: row for row in rows}  # type: ignore[attr-defined]  # a list


def names(actions: Iterable[Mapping[str, Any]]) -> Counter[tuple[str, int]]:
    """What is acted on: an instance, or a machine that is rented."""
    return Counter(
        (one["action"], one["offer"]["machine_id"] if "offer" in one else one["instance_id"])
        for one in actions
    )


def verbs(actions: Counter[tuple[str, int]]) -> Counter[str]:
    return Counter(verb for verb, _ in actions.elements())


def deeds(
    world: World, since: float, endpoint_id: int
) -> tuple[Counter[tuple[str, int]], Counter[tuple[str, int]]]:
    """What rounds since then did for a group, and what they tried and Vast put off, by its log."""
    found = [
        event.facts
        for event in all_events(world)
        if event.kind == "decision"
        and event.at > since
        and event.scope == f"endpoint:{endpoint_id}"
    ]
    put_off = [one for one in found if _VASTS_OWN.search(str(one.get("not_done", "")))]
    return names(one for one in found if "not_done" not in one), names(put_off)


def add_groups(world: World, dice: random.Random, *, bids: bool) -> list[EndpointGroup]:
    """One or two, near their caps or not, with one autogroup or two."""
    groups = []
    for name in ("llm", "images")[: dice.choice((1, 2, 2))]:
        group = world.add_group(
            name,
            cold_workers=dice.randrange(4),
            max_workers=10 if bids else dice.choice((1, 3, 8)),
            min_load=dice.choice((200.0, 300.0)) if bids else dice.choice((0.0, 0.0, 150.0)),
            max_usd_per_hour=dice.choice((None, None, 3.0) if bids else (None, 0.3, 0.9, 3.0)),
            interruptible=Interruptible.MIXED if bids else Interruptible.NEVER,
        )
        if dice.random() < 0.4:
            world.add_autogroup(group.endpoint_id, test_workers=3)
        groups.append(group)
    return groups


def outbid(world: World, dice: random.Random) -> None:
    """Somebody bids more than we do for one of our machines, and the rounds have seen it."""
    at_bids = sorted(key for key, one in world.market.instances.items() if one.is_bid)
    if at_bids:
        world.market.switch_on("outbid", world.now, instance_id=dice.choice(at_bids))
        run_rounds(world, 1)


def doubt(world: World, dice: random.Random) -> None:
    """Vast's list is broken, or lacks a machine; for a moment, or for minutes."""
    market = hiding(world)
    if dice.random() < 0.4:
        market.problem = "502"
    elif world.market.instances:
        market.hidden = frozenset({dice.choice(sorted(world.market.instances))})
    if dice.random() < 0.5:
        market.fail_next(Verb.SHOW, MarketplaceUnavailableError("502"), times=99)
    if dice.random() < 0.6:
        run_rounds(world, dice.randrange(1, 50))


def grown_world(seed: int) -> tuple[World, list[EndpointGroup]]:
    """Groups some way into their lives: with load, bids, caps, doubt, frozen, in shadow, or not."""
    dice = random.Random(seed)
    world = World(seed=seed)
    bids = seed % 8 == 0
    run_rounds(world, 3)
    groups = add_groups(world, dice, bids=bids)
    if bids:
        run_rounds(world, 12, every_s=5.0)
        run_rounds(world, 25, every_s=60.0)  # those at bids are rented late, beside the others
        outbid(world, dice)
    for _ in range(dice.randrange(4)):
        world.ask(dice.choice(groups).endpoint_id, dice.randrange(6))
        run_rounds(world, dice.randrange(1, 12))
    if dice.random() < 0.5:
        cap = dice.choice((0.2, 0.7, 1.5, 4.0))
        world.ledger.set_caps({"caps_microusd_per_hour": round(cap * MICRO)})
    if dice.random() < 0.15:
        world.ledger.set_flags(is_frozen=True)
    if dice.random() < 0.15:
        set_group(world, dice.choice(groups).endpoint_id, shadow=True)
    if dice.random() < 0.35:
        doubt(world, dice)
    world.tick(310.0)  # no pause of the scaler's searches is left
    for group in groups:
        world.ask(group.endpoint_id, dice.randrange(8))
    return world, groups


@pytest.mark.parametrize("seed", SEEDS)
def test_the_plan_is_what_the_next_round_does(seed: int) -> None:
    """Vast lets a round search about once: what a further search finds, the round after rents."""
    world, groups = grown_world(seed)
    foretold = plans(world)
    since = world.now - 1e-6
    run_rounds(world, 1, every_s=0.0)
    did = {group.endpoint_id: deeds(world, since, group.endpoint_id) for group in groups}
    world.clock.advance(TURNS_S)
    world.serve_waiting()
    for endpoint_id, (done, put_off) in did.items():
        told = names(foretold[endpoint_id]["actions"])
        assert not done + put_off - told, "nothing that was not told"
        late = told - done - put_off
        if late:
            again = names(plan(world, endpoint_id)["actions"])
            assert set(verbs(late)) == {"rent"}
            assert verbs(late) == verbs(again)


def known_world() -> World:
    """Without groups; its rounds believe Vast's empty list."""
    world = World(seed=3)
    run_rounds(world, 3)
    return world


OFFER_TOLD_TWICE = 60  # two autogroups of one group, and a second group, choose the same


def test_an_offer_is_promised_once_and_each_machine_at_its_own_price() -> None:
    """Told before: one offer for all three; what the second really got was dearer than its cap."""
    world, groups = grown_world(OFFER_TOLD_TWICE)
    foretold = plans(world)
    rows = [row for group in groups for row in foretold[group.endpoint_id]["actions"]]
    refused = [row for group in groups for row in foretold[group.endpoint_id]["refused"]]
    offers = [row["offer"]["offer_id"] for row in (*rows, *refused)]
    assert len(offers) == len(set(offers)) == 3
    assert [row["cap"] for row in refused] == ["group_cap_hour"]
    since = world.now - 1e-6
    run_rounds(world, 1, every_s=0.0)
    events = [e for e in all_events(world) if e.kind == "decision" and e.at > since]
    offered = [offer for e in events if isinstance(offer := e.facts.get("offer"), Mapping)]
    tried = [offer["offer_id"] for offer in offered]
    assert tried
    assert set(tried) <= set(offers)


def test_a_group_in_shadow_takes_no_offer_from_one_that_rents() -> None:
    world = known_world()
    shadow, real = world.add_group("shadow", cold_workers=1), world.add_group(cold_workers=1)
    set_group(world, shadow.endpoint_id, shadow=True)
    alone = plan(world, real.endpoint_id)["actions"]
    world.clock.advance(TURNS_S)
    both = plans(world)
    assert names(both[real.endpoint_id]["actions"]) == names(alone)


def order(autogroup_id: int, *offer_ids: int) -> RentOffer:
    first, *others = [make_offer(one) for one in offer_ids]
    reason = Reason(code=ReasonCode.COLD_SHORT)
    return RentOffer(
        autogroup_id=autogroup_id, offer=first, reason=reason, alternatives=tuple(others)
    )


def test_whose_offers_all_go_to_others_waits_for_the_next_round() -> None:
    orders = [order(1, 5, 6), order(2, 5, 6, 7), order(3, 6, 5), order(4, 9, 8)]
    kept = each_offer_once([StopWorker(instance_id=3, reason=orders[0].reason), *orders], {9})
    rentals = [one for one in kept if isinstance(one, RentOffer)]
    assert len(kept) == len(rentals) + 1
    assert [(one.autogroup_id, one.offer.offer_id) for one in rentals] == [(1, 5), (2, 6), (4, 8)]
    assert [[o.offer_id for o in one.alternatives] for one in rentals] == [[6], [7], []]


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


def test_a_lowered_cap_of_the_account_is_planned_and_then_does_what_was_told() -> None:
    world = known_world()
    group = world.add_group(cold_workers=0)
    world.ask(group.endpoint_id, 9)
    run_rounds(world, 6)
    world.clock.advance(TURNS_S)
    caps = {"caps_microusd_per_hour": 10_000}
    told = names(plan(world, group.endpoint_id, caps=caps)["actions"])
    assert set(verbs(told)) == {"drain"}
    assert world.ledger.account().caps_microusd_per_hour > 10_000, "nothing is stored"
    world.ledger.set_caps(caps)
    since = world.now - 1e-6
    world.clock.advance(TURNS_S)
    run_rounds(world, 1, every_s=0.0)
    assert deeds(world, since, group.endpoint_id)[0] == told


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


def test_before_unfreezing_the_plan_is_what_is_done_after_it() -> None:
    world = known_world()
    group = world.add_group(cold_workers=1)
    world.ledger.set_flags(is_frozen=True)
    world.ask(group.endpoint_id, 9)
    run_rounds(world, 2)
    world.tick(310.0)
    told = names(plans(world, is_unfrozen=True)[group.endpoint_id]["actions"])
    assert set(verbs(told)) == {"rent"}
    assert world.ledger.account().is_frozen
    world.ledger.set_flags(is_frozen=False)
    since = world.now - 1e-6
    run_rounds(world, 1, every_s=0.0)
    done, put_off = deeds(world, since, group.endpoint_id)
    assert done
    assert not done + put_off - told


def test_a_draft_is_planned_as_if_it_were_there_and_leaves_no_trace() -> None:
    world = known_world()
    stored = world.add_group("other")
    model = replace(stored, endpoint_id=0, name="new")
    [autogroup] = world.owner_ports.groups.list_autogroups(stored.endpoint_id)
    drafted = replace(autogroup, autogroup_id=0, endpoint_id=0, test_workers=2)
    sought = offers_question(drafted)  # as the preview asks
    foretold = plan(world, 0, draft=draft_of(model, [drafted]), offers_for=sought)
    rentals = [one for one in foretold["actions"] if one["action"] == "rent"]
    assert len(rentals) == 2
    assert all(one["once_usd"] > 0 and one["worst_usd_per_hour"] > 0 for one in rentals)
    assert foretold["found"]["offers"]
    assert [g.name for g in world.owner_ports.groups.list_groups()] == ["other"]


def test_an_autogroup_that_cannot_be_launched_is_named_and_hides_no_offers_of_another() -> None:
    world = known_world()
    stored = world.add_group("llm")
    sick = world.add_autogroup(stored.endpoint_id, template_hash="nonsense")
    world.ask(stored.endpoint_id, 9)
    found = world.owner_ports.groups.list_autogroups(stored.endpoint_id)
    drafted = replace(found[0], autogroup_id=0)
    draft = draft_of(stored, [*found, drafted])
    foretold = plan(world, stored.endpoint_id, draft=draft, offers_for=offers_question(drafted))
    assert foretold["found"]["offers"]
    (problem,) = foretold["problems"]
    assert problem.startswith(f"autogroup {sick.autogroup_id}: Vast knows no template 'nonsense'")
    told = {note["facts"].get("autogroup_id") for note in foretold["notes"]}
    assert sick.autogroup_id not in told, "that no offer fits it would be untrue"
    ill = plan(world, stored.endpoint_id, draft=draft, offers_for=offers_question(sick))
    assert "found" not in ill


@pytest.mark.parametrize("brake", ["frozen", "capped", "at rest"])
def test_a_template_that_nobody_knows_is_named_also_where_nothing_would_be_rented(
    brake: str,
) -> None:
    world = known_world()
    stored = world.add_group("llm")
    if brake == "frozen":
        world.ledger.set_flags(is_frozen=True)
    if brake == "capped":
        world.ledger.set_caps({"caps_microusd_per_hour": 0})
    found = world.owner_ports.groups.list_autogroups(stored.endpoint_id)
    changed = replace(found[0], template_hash="nonsense", test_workers=0)
    draft = draft_of(stored, [changed])
    foretold = plan(world, stored.endpoint_id, draft=draft, offers_for=offers_question(changed))
    assert not foretold["actions"]
    (problem,) = foretold["problems"]
    assert "Vast knows no template 'nonsense'" in problem
    assert "found" not in foretold, "offers for no template are no offers"


def test_a_search_without_offers_is_told_the_nearest_that_has_some() -> None:
    world = known_world()
    asked: dict[str, Any] = {"ask": "offers", "hints": True}
    asked["search"] = {"gpu_name": {"eq": "RTX4090"}}
    assert "nearest: gpu_name=RTX_4090" in str(answer(world.ports, asked)["hint"])
    asked["search"] = {"gpu_ram": {"gte": 9e9}, "num_gpus": {"eq": 1}}
    hint = str(answer(world.ports, asked)["hint"])
    assert "none has gpu_ram >= 9,000,000 GB (the most: 180 GB)" in hint


def test_a_raised_bid_that_a_cap_refuses_is_named_as_refused_with_what_it_would_take() -> None:
    world, (group,) = grown_world(BIDS_MORE)
    (bid,) = plan(world, group.endpoint_id)["actions"]
    assert bid["action"] == "bid"
    assert 0 < bid["worst_usd_per_hour"] < 0.2  # the rise: the books hold it as running
    world.clock.advance(TURNS_S)
    run_rounds(world, 1, every_s=0.0)  # the books are those of now
    committed = world.ledger.account().committed_microusd_per_hour
    world.ledger.set_caps({"caps_microusd_per_hour": committed + 1000})
    world.tick(310.0)
    foretold = plan(world, group.endpoint_id)
    assert [one["action"] for one in foretold["actions"] if one["action"] != "drain"] == []
    refused = [(one["action"], one["cap"]) for one in foretold["refused"]]
    assert ("bid", "cap_hour") in refused


def test_the_random_states_hold_all_that_can_happen() -> None:
    """What the law above is tried on: rentals, starts, bids, refusals, doubt and rest."""
    seen: set[str] = set()
    for seed in TELLING:
        world, _ = grown_world(seed)
        for foretold in plans(world).values():
            seen |= {one["action"] for one in foretold["actions"]} or {"rest"}
            seen |= {"refused" for _ in foretold["refused"]}
            seen |= set() if foretold["inventory_is_known"] else {"doubt"}
    assert {"rent", "start", "stop", "drain", "bid", "refused", "doubt", "rest"} <= seen


def test_a_full_group_is_full_and_not_without_offers() -> None:
    world = known_world()
    group = world.add_group(cold_workers=0, max_workers=1)
    world.ask(group.endpoint_id, 9)
    run_rounds(world, 3)
    set_group(world, group.endpoint_id, params=replace(group.params, min_load=1e6))
    codes = {note["code"] for note in plan(world, group.endpoint_id)["notes"]}
    assert "cap_workers" in codes
    assert not codes & {"no_offers", "not_searched"}
