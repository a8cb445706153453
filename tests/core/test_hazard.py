"""The odds of interruptible machines, as they are learned."""

from __future__ import annotations

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.hazard import (
    UP_PRIOR_S,
    Bid,
    availability,
    learn_losses,
    loss_rate,
    margin_factor,
    place_of,
)
from chalicelib.core.scaling.memory import ScalingMemory
from tests.core.bid_scenes import DOWN, HERE, NOW, THERE, UP, facts


def observed(states: list[list[WorkerState]], *, step_s: float = 60.0) -> ScalingMemory:
    """A memory after rounds, each with the states of machines 1, 2, … at one place."""
    memory = ScalingMemory(at=NOW)
    for n, row in enumerate(states, 1):
        now = NOW + n * step_s
        workers = [facts(i, state) for i, state in enumerate(row, 1)]
        learn_losses(memory, workers, now)
        memory.at = now
    return memory


def test_unknown_machines_are_taken_every_four_hours_and_are_away_for_one() -> None:
    memory = ScalingMemory()
    assert loss_rate(memory, Bid(place=HERE)) == pytest.approx(1 / UP_PRIOR_S)
    assert availability(memory, Bid(place=HERE)) == pytest.approx(0.8)


def test_a_quiet_place_becomes_better_and_a_restless_one_worse_than_the_rest() -> None:
    quiet = observed([[UP, UP]] * 400)
    assert loss_rate(quiet, Bid(place=HERE)) < 0.6 / UP_PRIOR_S
    restless = observed([[UP, UP], [DOWN, DOWN]] * 20)
    assert loss_rate(restless, Bid(place=HERE)) > 4 / UP_PRIOR_S
    assert loss_rate(restless, Bid(place=THERE)) < loss_rate(restless, Bid(place=HERE))


def test_a_type_that_is_new_in_a_restless_region_is_believed_restless() -> None:
    restless = observed([[UP, UP], [DOWN, DOWN]] * 20)
    other_type, elsewhere = place_of("SE", "1x H100"), place_of("US", "1x H100")
    rates = [loss_rate(restless, Bid(place=place)) for place in (HERE, other_type, elsewhere)]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] > 2 * rates[2]
    away = [availability(restless, Bid(place=place)) for place in (HERE, other_type, elsewhere)]
    assert away == sorted(away)


def test_machines_lost_together_are_one_event_and_not_ten_proofs() -> None:
    together = observed([[UP] * 10, [DOWN] * 10])
    single = observed([[UP], [DOWN]])
    assert loss_rate(together, Bid(place=HERE)) == pytest.approx(loss_rate(single, Bid(place=HERE)))
    one_of_ten = observed([[UP] * 10, [DOWN, *[UP] * 9]])
    assert loss_rate(one_of_ten, Bid(place=HERE)) < loss_rate(together, Bid(place=HERE))


def test_an_hour_of_losses_is_felt_and_forgotten() -> None:
    memory = observed([[UP], [DOWN]] * 10)
    bad = loss_rate(memory, Bid(place=HERE))
    for _ in range(4 * 24 * 60):
        learn_losses(memory, [facts(1, UP)], memory.at + 60.0)
        memory.at += 60.0
    assert loss_rate(memory, Bid(place=HERE)) < bad / 10


def test_a_pause_of_ours_between_rounds_counts_as_no_time() -> None:
    steady, gap = observed([[UP], [UP]], step_s=60.0), observed([[UP], [UP]], step_s=90_000.0)
    assert gap.bid_odds[f"p:{HERE}"][0] <= 2 * 120.0
    assert steady.bid_odds[f"p:{HERE}"][0] == pytest.approx(120.0, rel=0.01)


def test_a_higher_bid_helps_by_what_it_did() -> None:
    memory = ScalingMemory(at=NOW)
    before = margin_factor(memory, 1.6)
    assert before < margin_factor(memory, 1.25) < margin_factor(memory, 1.0)
    for n in range(40):
        now = NOW + (n + 1) * 60.0
        state = DOWN if n % 2 else UP
        learn_losses(memory, [facts(1, state, bid_margin=1.6)], now)
        memory.at = now
    assert margin_factor(memory, 1.6) > 1.0 > before


def test_what_is_remembered_stays_small() -> None:
    memory = ScalingMemory(at=NOW)
    for n in range(500):
        learn_losses(memory, [facts(n, UP, place=f"P{n % 50}")], NOW + 60.0 * (n + 1))
        memory.at = NOW + 60.0 * (n + 1)
    assert len(memory.bid_odds) <= 121
