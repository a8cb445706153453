"""Looking for better machines: when offers are wanted for it, and which is worth a look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.searching import LOOKS_EACH_S, SearchBook
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.memory import LEVELS, ScalingMemory
from chalicelib.core.scaling.moves.cold_pool import RentalRoom
from chalicelib.core.scaling.moves.orders import Orders, plan_scouting
from chalicelib.core.scaling.moves.pools import Round
from tests.core.bid_scenes import NOW, on_demand
from tests.core.test_interruptible import bid_offer, known_memory, scene

FLEET = [on_demand(n) for n in range(1, 7)]


def cheap(number: int, usd: float = 0.2) -> object:
    return replace(bid_offer(number, usd=usd), is_bid=False, bid_usd_per_hour=0.0)


def look(
    memory: ScalingMemory, offers: list[object] | None
) -> tuple[list[str], frozenset[int], Orders]:
    pool, ctx = scene(FLEET, offers or [], memory)  # type: ignore[arg-type]
    if offers is None:
        ctx = Round(replace(ctx.snapshot, offers={}), ctx.beliefs, ctx.now)
    orders = Orders()
    budget = RentalRoom(n_workers=9, usd_per_hour=9.0, n_orders=9)
    rentals = plan_scouting(pool, ctx, budget, orders)
    return [r.reason.code for r in rentals], frozenset(orders.wants_looks), orders


def test_a_much_cheaper_machine_is_looked_at() -> None:
    assert look(known_memory(), [cheap(1)])[0] == ["scout"]
    assert look(known_memory(), [cheap(1, usd=1.5)])[0] == []


def test_without_offers_at_hand_they_are_wanted_and_nothing_is_noted() -> None:
    memory = known_memory()
    codes, wanted, _ = look(memory, None)
    assert not codes
    assert wanted == {1}
    assert memory.compared_at == 0.0  # nothing was compared
    assert look(known_memory(), [])[1] == frozenset()  # a search that found none is an answer


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_what_is_hardly_used_is_not_searched_for(share: float) -> None:
    assert look(known_memory(share), None)[1] == frozenset()
    assert len(LEVELS) > 1


def test_a_young_group_and_one_that_looked_lately_do_not_look() -> None:
    assert look(replace(known_memory(), usage_s=600.0), None)[1] == frozenset()
    assert look(replace(known_memory(), scouted_at=NOW - 60.0), None)[1] == frozenset()


def test_a_day_of_looks_is_two_an_hour_and_none_once_the_budget_is_used_up() -> None:
    book, n, midnight = SearchBook(), 0, 86_400.0 * 20_000
    for minute in range(24 * 60):
        now = midnight + minute * 60.0
        if book.is_look_due(1, now):
            book.note(1, 0, 64, now)
            n += 1
    assert n == 86_400 / LOOKS_EACH_S
    used_up = SearchBook()
    used_up.note(2, 0, 1_000_000, midnight)
    assert not used_up.is_look_due(1, midnight + 2 * LOOKS_EACH_S)


def test_a_group_at_rest_does_not_look() -> None:
    fleet = [on_demand(n, WorkerState.STOPPED) for n in range(1, 7)]
    pool, ctx = scene(fleet, [], known_memory())
    ctx = Round(replace(ctx.snapshot, offers={}), ctx.beliefs, ctx.now)
    orders = Orders()
    plan_scouting(pool, ctx, RentalRoom(n_workers=9, usd_per_hour=9.0, n_orders=9), orders)
    assert not orders.wants_looks
