"""Choosing a worker that tells its slots: a free one where it is cheapest."""

from __future__ import annotations

import pytest

from chalicelib.core.routing.choice import Criteria
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.request_index import worker_slot
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable

NOW = 1_000.0
ONE_GROUP = (AutogroupFacts(autogroup_id=1),)


def worker(
    instance_id: int, *, usd: float = 0.5, wait_s: float = 0.0, headroom_s: float = 0.0
) -> RoutableWorker:
    """Of 100 load per second."""
    return RoutableWorker(
        instance_id=instance_id,
        autogroup_index=0,
        perf=100.0,
        usd_per_hour=usd,
        free_at=NOW + wait_s,
        granted_load=0.0,
        known_at=NOW,
        headroom_s=headroom_s,
    )


def wish(*, bound_s: float = 1e9, dice: float = 0.0, avoid_slot: int | None = None) -> Criteria:
    return Criteria(cost=100.0, bound_s=bound_s, dice=dice, avoid_slot=avoid_slot)


def chosen(table: RoutingTable, a_wish: Criteria) -> int | None:
    choice = table.choose(a_wish, NOW)
    return choice.worker.instance_id if choice else None


def test_an_own_grant_takes_one_slot_whatever_its_cost() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, wait_s=6.0, headroom_s=7.0)], usual_cost=100.0)
    known = table.find_slot(worker_slot(1))
    assert known is not None
    table.granted(known, 900.0, 900.0, NOW)
    assert known.wait_s(NOW) == 0.0
    table.granted(known, 900.0, 1_800.0, NOW)
    assert known.wait_s(NOW) == pytest.approx(1.0)


def test_a_free_slot_is_taken_where_it_is_cheapest() -> None:
    """So that load packs there, and dear workers come to be idle and can be stopped."""
    dear_and_idle = worker(1, usd=0.6, headroom_s=7.0)
    cheap_and_busy = worker(2, usd=0.4, wait_s=6.5, headroom_s=7.0)
    cheaper_and_full = worker(3, usd=0.3, wait_s=7.5, headroom_s=7.0)
    table = RoutingTable(ONE_GROUP, [dear_and_idle, cheap_and_busy, cheaper_and_full])
    assert chosen(table, wish()) == 2
    assert chosen(table, wish(avoid_slot=worker_slot(2))) == 1
    table.drop(cheap_and_busy)
    assert chosen(table, wish()) == 1


def test_such_a_reservation_stands_until_others_have_filled_the_slots() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, wait_s=6.5, headroom_s=7.0)])
    choice = table.choose(wish(bound_s=2.0), NOW)
    assert choice is not None
    assert choice.bound == pytest.approx(50.0)  # 0.5 s of 100 load per second
    table.correct(choice.worker, 60.0, NOW)
    assert chosen(table, wish(bound_s=0.05)) is None


def test_routers_that_cannot_have_seen_each_other_spread_over_the_cheapest() -> None:
    fleet = [worker(i, usd=0.1 * i, headroom_s=7.0) for i in range(1, 9)]
    table = RoutingTable(ONE_GROUP, fleet, built_at=NOW - 1, grants_per_s=2.0)
    assert {chosen(table, wish(dice=i / 20)) for i in range(20)} == {1, 2, 3}


def test_the_service_time_is_that_of_one_slot() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, headroom_s=7.0)])
    assert table.service_s(100.0) == 8.0
