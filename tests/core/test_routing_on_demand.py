"""Requests that mind being cut are served on demand; others go where it is cheapest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.routing.choice import OnDemand
from chalicelib.core.routing.packed_view import pack_view, unpack_view
from chalicelib.core.routing.table import RoutingTable
from tests.core.test_routing import ONE_GROUP, chosen, wish, worker
from tests.core.test_routing_view import build

BID, OWN = 1, 2


def table(*, own_wait_s: float = 0.0, headroom_s: float = 0.0) -> RoutingTable:
    bid = worker(BID, usd=0.3, headroom_s=headroom_s)
    return RoutingTable(
        ONE_GROUP,
        [replace(bid, is_bid=True), worker(OWN, wait_s=own_wait_s, headroom_s=headroom_s)],
    )


@pytest.mark.parametrize("headroom_s", [0.0, 10.0])
@pytest.mark.parametrize(("wanted", "expected"), [("any", BID), ("prefer", OWN), ("only", OWN)])
def test_who_minds_goes_to_a_worker_on_demand(
    wanted: str, expected: int, headroom_s: float
) -> None:
    found = chosen(table(headroom_s=headroom_s), wish(on_demand=OnDemand(wanted)))
    assert found == expected


@pytest.mark.parametrize(("wanted", "expected"), [("any", BID), ("prefer", BID), ("only", None)])
def test_only_who_insists_waits_for_one(wanted: str, expected: int | None) -> None:
    late = table(own_wait_s=60.0)
    assert chosen(late, wish(bound_s=5.0, on_demand=OnDemand(wanted))) == expected


def test_a_view_tells_which_workers_may_be_taken_away() -> None:
    view = replace(build(), workers=(replace(worker(BID), is_bid=True), worker(OWN)))
    packed = unpack_view(pack_view(view))
    assert [w.is_bid for w in packed.workers] == [True, False]
    assert [w.generation for w in packed.workers] == ["D", "D"]
