"""A group on interruptible machines whose marketplace drifts while all of them are outbid.

What is wanted is served, on demand if need be; no machine is forgotten or rented without end; and
once the market is itself again, so is the group.
"""

from __future__ import annotations

from collections import Counter

import pytest

from chalicelib.core.model.worker import WorkerState
from tests.drift.drifting_world import Answer, DriftingWorld, Json, each
from tests.drift.drifts import drop, put, text
from tests.stories.bidding import HOT, at_bids, bidding_day, floors

MAX_WORKERS = 12
ON_DEMAND_USD = 2.2  # dollars an hour: three and a spare on demand, and all the disks


def outbid_as(**members: object) -> Answer:
    """What an outbid machine's row says instead of what the recorded ones did."""

    def change(row: Json) -> None:
        if row.get("is_bid") and row.get("intended_status") == "stopped":
            row.update(members)

    return each("instances", change)


ROWS: dict[str, Answer] = {
    "is_bid missing": each("instances", drop("is_bid")),
    "is_bid null": each("instances", put("is_bid", None)),
    "is_bid as text": each("instances", text("is_bid")),
    "is_bid of everything": each("instances", put("is_bid", True)),
    "outbid is a new word": outbid_as(actual_status="outbid", cur_state="outbid"),
    "outbid is intended to run": outbid_as(intended_status="running"),
    "outbid is intended to run, stopped": outbid_as(
        intended_status="running", actual_status="stopped"
    ),
    "outbid is intended to run, offline": outbid_as(
        intended_status="running", actual_status="offline"
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", ROWS)
def test_whatever_a_listing_says_of_bids_does_no_harm(name: str) -> None:
    day, group = bidding_day()
    drifting = DriftingWorld(day.world)
    theirs = drifting.rent_by_owner("my own")
    drifting.drift = {"list": ROWS[name]}
    drifting.minutes(3)
    floors(day, 1.2)  # what a raised bid would win again
    most, least, before = 0, HOT, Counter(drifting.asked)
    for minute in range(14):
        day.world.ask(group.endpoint_id, 2)
        drifting.minutes(1)
        most = max(most, len(drifting.ours))
        if minute >= 3:
            least = min(least, _served(drifting))
    assert most <= MAX_WORKERS
    assert least >= HOT * 0.9, "on demand, if not at bids"
    asked = drifting.asked - before
    assert asked["create"] <= 12
    assert asked["bid"] <= 20
    assert asked["destroy"] <= 40
    assert day.world.n_waiting <= 2
    drifting.drift = {}
    floors(day, 1.0)
    drifting.minutes(30)
    rows = {row.instance_id for row in day.world.workers.rows.values()}
    assert rows == {instance.instance_id for instance in drifting.ours}
    assert theirs in day.world.market.instances
    assert _served(drifting) >= HOT * 0.9
    assert day.world.n_waiting == 0
    assert at_bids(day, WorkerState.READY), "bids are used again"
    assert day.world.market.bill(day.world.now).usd_per_hour < ON_DEMAND_USD


def _served(drifting: DriftingWorld) -> float:
    rows = drifting.world.workers.rows.values()
    return sum(row.perf for row in rows if row.state is WorkerState.READY)
