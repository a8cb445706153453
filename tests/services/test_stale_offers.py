"""An hour with a dead offer that stays listed, by the recorded answer; and a day's searches."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.fleet.searching import DAILY_ROWS, SearchBook, SearchDay, SearchPace
from chalicelib.services.rounds.loop import scaling_loop
from fakes.market.market_machines import Machine
from fakes.market.market_offers import OfferBook
from fakes.market.market_refusal import MarketRefusal
from fakes.worlds.world import World
from tests.evidence.vast_records import load_records


def n_creates(world: World) -> int:
    return sum(call.verb is Verb.CREATE for call in world.market.calls)


def test_a_dead_offer_that_stays_listed_costs_one_create_of_each_hour() -> None:
    """The body recorded in 2026-02; before, the same offer was tried 179 times an hour."""
    world = World()
    group = world.add_group("llm")
    cheapest = min(
        (row for row in world.market.offers.search({"gpu_name": {"eq": "RTX 4090"}}, world.now)),
        key=lambda row: float(str(row["dph_total"])),
    )
    book: OfferBook = world.market.offers
    alive = book.take
    record = next(r for r in load_records() if r.id == "create-gone-400-live-2026-02")

    def take(offer_id: int, now: float) -> Machine:
        if offer_id == cheapest["id"]:
            raise MarketRefusal(record.status, json.dumps(record.body))
        return alive(offer_id, now)

    book.take = take  # type: ignore[method-assign]  # a market whose listing is stale
    world.ask(group.endpoint_id, 3)
    ends_at = world.now + 3_600.0
    while world.now < ends_at:
        minute_ends_at = world.now + 60.0
        scaling_loop(world.ports, deadline_at=world.now + 52.0)
        world.tick(max(5.0, minute_ends_at - world.now))
    assert world.n_waiting == 0
    assert n_creates(world) <= 3


@pytest.mark.parametrize(("n_days", "most"), [(1, 300), (2, 600)])
def test_one_stuck_group_searches_at_most_300_times_a_day(n_days: int, most: int) -> None:
    """Every five seconds asked, nothing ever changes; the longest pause is five minutes."""
    book, searched = SearchBook(), []
    for step in range(n_days * 17_280):
        now = 86_400.0 * 20_000 + step * 5.0
        if book.is_due(7, 1, now):
            book.note(7, 1, 64, now)
            searched.append(now)
    assert len(searched) <= most
    pauses = [b - a for a, b in itertools.pairwise(searched)]
    assert max(pauses) <= 300.0 + 5.0
    assert sum(pause <= 60 for pause in pauses) >= 3


def test_a_change_is_searched_for_at_once() -> None:
    pace = SearchPace()
    for _ in range(9):
        pace = pace.searched(1, 1_000.0)
    assert not pace.is_due(1, 1_001.0)
    assert pace.is_due(2, 1_001.0)
    assert pace.searched(2, 1_001.0).pause_s() == 6.0


def test_a_used_up_day_leaves_the_longest_pauses_only_and_ends_at_midnight() -> None:
    now = 86_400.0 * 20_000 + 60.0
    day = SearchDay().counted(DAILY_ROWS, now)
    book = SearchBook({7: SearchPace(situation=1, n_same=1, searched_at=now)}, day)
    assert not book.is_due(7, 2, now + 10.0)
    assert book.is_due(7, 2, now + 300.0)
    assert replace(day).on(now + 86_400.0).n_rows == 0
