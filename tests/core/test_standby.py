"""Interruptible machines as a reserve: how far they stand in for machines on demand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.endpoint_group import Interruptible
from chalicelib.core.model.market import Offer
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, RentOffer
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.moves.cold_pool import held_capacity, plan_returns
from chalicelib.core.scaling.moves.standby import (
    bid_standby,
    may_stand_in,
    n_places_insured,
    places_away,
    plan_standby,
)
from tests.core.bid_scenes import DOWN, NOW, UP, facts, on_demand
from tests.core.test_interruptible import AUTOGROUP, bid_offer, known_memory, scene

COLD = WorkerState.STOPPED
OTHER_GPU = "1x L40S"


@pytest.mark.parametrize(("target", "n"), [(0.9, 1), (0.95, 1), (0.99, 1), (0.999, 2), (1.0, 5)])
def test_stricter_targets_insure_more_places(target: float, n: int) -> None:
    assert n_places_insured(target) == n


def test_the_largest_place_counts_for_nothing() -> None:
    fleet = [facts(1), facts(2), facts(3, place="US"), facts(4, place="JP")]
    pool, ctx = scene(fleet, [], known_memory())
    assert bid_standby(pool, ctx) == pytest.approx(200.0)
    pool, ctx = scene(fleet[:2], [], known_memory())
    assert bid_standby(pool, ctx) == 0.0  # one place alone is no reserve


def test_at_a_strict_target_one_gpu_type_may_be_lost_everywhere() -> None:
    fleet = [facts(n, place=f"P{n}") for n in range(1, 7)]
    pool, ctx = scene(fleet, [], known_memory(), slo_target=0.999)
    assert bid_standby(pool, ctx) == 0.0
    mixed = [*fleet[:3], *(replace(w, gpu_type=OTHER_GPU) for w in fleet[3:])]
    pool, ctx = scene(mixed, [], known_memory(), slo_target=0.999)
    assert bid_standby(pool, ctx) == pytest.approx(300.0)


def test_a_place_that_is_away_is_the_insured_one() -> None:
    """What is stopped there counts for nothing; the loss that was insured has happened."""
    fleet = [facts(1, DOWN), facts(2, COLD), facts(3, place="US"), facts(4, place="JP")]
    pool, ctx = scene(fleet, [], known_memory())
    assert places_away(pool) == {"SE"}
    assert bid_standby(pool, ctx) == pytest.approx(200.0)
    back = [facts(1), *fleet[1:]]
    pool, ctx = scene(back, [], known_memory())
    assert places_away(pool) == set()
    assert bid_standby(pool, ctx) == pytest.approx(200.0)


@pytest.mark.parametrize(
    ("away", "left"),
    [(set(), 400.0), ({7}, 400.0), ({1, 2, 3}, 400.0), ({1, 2}, 400.0), ({1, 2, 3, 7}, 300.0)],
)
def test_a_small_place_that_goes_or_comes_back_moves_nothing(away: set[int], left: float) -> None:
    """Only what is away beyond the largest place must be rented elsewhere."""
    places = dict.fromkeys((1, 2, 3), "SE") | dict.fromkeys((4, 5, 6), "US") | {7: "JP"}
    fleet = [facts(n, DOWN if n in away else UP, place=at) for n, at in places.items()]
    pool, ctx = scene(fleet, [], known_memory())
    assert bid_standby(pool, ctx) == pytest.approx(left)
    pool, ctx = scene(fleet[:-1], [], known_memory())  # the small place's machine was returned
    assert bid_standby(pool, ctx) == pytest.approx(300.0)


def test_what_lacks_less_than_a_twentieth_is_not_worth_a_machine() -> None:
    fleet = [on_demand(9), *(facts(n, place=f"P{n}") for n in range(1, 5))]
    offers = [bid_offer(n, f"P{n}") for n in range(11, 15)]
    assert rentals_of(fleet, offers, min_cold_load=410.0) == []
    assert rentals_of(fleet, offers, min_cold_load=440.0) != []
    alone = [replace(w, is_bid=False) for w in fleet]  # nothing is insured: each lack is one
    assert rentals_of(alone, [own_offer()], min_cold_load=510.0) != []


def test_the_first_pool_is_rented_at_bids_once_one_machine_is_known() -> None:
    memory = replace(known_memory(), usage_s=10.0)
    pool, ctx = scene([on_demand(9)], [bid_offer(1)], memory)
    assert may_stand_in(pool, ctx)
    pool, ctx = scene([on_demand(9)], [bid_offer(1)], memory, interruptible=Interruptible.OVERFLOW)
    assert not may_stand_in(pool, ctx)  # what is wanted half of the time is not known yet


def own_offer() -> Offer:
    return replace(bid_offer(20), is_bid=False, bid_usd_per_hour=0.0, usd_per_hour=0.6)


def test_a_reserve_at_bids_is_bounded_by_the_share() -> None:
    fleet = [facts(n, place=f"P{n}") for n in range(1, 7)]
    pool, ctx = scene(fleet, [], known_memory(), interruptible_share=0.4)
    assert held_capacity(pool, ctx, 600.0) == pytest.approx(240.0)
    pool, ctx = scene(fleet, [], known_memory(), interruptible=Interruptible.NEVER)
    assert held_capacity(pool, ctx, 600.0) == 0.0
    pool, ctx = scene(fleet, [], known_memory(), interruptible_share=0.0)
    assert held_capacity(pool, ctx) == 0.0


def test_what_is_missing_is_rented_at_bids_spread_over_places() -> None:
    fleet = [on_demand(1), *(facts(n, place="SE") for n in range(2, 5))]
    offers = [bid_offer(n, "SE") for n in range(1, 5)] + [bid_offer(n, "US") for n in range(5, 9)]
    pool, ctx = scene(fleet, offers, known_memory())
    rentals = plan_standby(pool, 300.0, 500.0, ctx, 10)
    assert [r.offer.geolocation for r in rentals] == ["US"] * 3  # SE stays the largest place
    assert all(r.reason.code == "bid_standby" for r in rentals)
    assert len(plan_standby(pool, 300.0, 500.0, ctx, 2)) == 2


def rentals_of(fleet: list, offers: list, **params: object) -> list[RentOffer]:  # type: ignore[type-arg]
    pool, ctx = scene(fleet, offers, known_memory(), **params)
    assert pool.autogroup is AUTOGROUP
    plan = decide_scaling(ctx.snapshot, ctx.beliefs.memory.to_json(), NOW)
    return [action for action in plan.actions if isinstance(action, RentOffer)]


def test_one_machine_on_demand_is_held_in_any_case() -> None:
    fleet = [facts(n, place=f"P{n}") for n in range(1, 5)]
    bids = [bid_offer(n, f"P{n}") for n in range(1, 9)]
    own = own_offer()
    rented = rentals_of(fleet, [*bids, own], min_cold_load=100.0)
    assert [r.offer.offer_id for r in rented if not r.offer.is_bid] == [20]
    rented = rentals_of([*fleet, on_demand(9)], [*bids, own], min_cold_load=100.0)
    assert [r.offer.offer_id for r in rented if not r.offer.is_bid] == []


def test_the_last_machine_on_demand_is_not_returned_while_bids_serve() -> None:
    cold = [on_demand(n, COLD) for n in range(1, 4)]
    fleet = [*cold, *(facts(n, place=f"P{n}") for n in range(5, 12))]
    pool, ctx = scene(fleet, [], known_memory())
    actions = plan_returns(pool, 100.0, 0, ctx)
    gone = {action.instance_id for action in actions if isinstance(action, DestroyWorker)}
    assert len(gone) == 2
    assert gone < {1, 2, 3}


def test_a_stopped_machine_at_a_bid_goes_only_once_the_pool_can_spare_it() -> None:
    cold = [facts(n, COLD, place=f"P{n}", state_since=NOW - 15_000) for n in range(1, 5)]
    pool, ctx = scene([on_demand(9), *cold], [], known_memory())
    assert plan_returns(pool, 400.0, 0, ctx) == []
    (first, *_) = plan_returns(pool, 200.0, 0, ctx)
    assert first.reason.code == "bid_unused"
    fresh = [replace(w, state_since=NOW - 10_000) for w in cold]
    pool, ctx = scene([on_demand(9), *fresh], [], known_memory())
    assert plan_returns(pool, 200.0, 0, ctx) == []
