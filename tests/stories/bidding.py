"""A group on interruptible machines that serve, and what happens to their bids.

Three workers' worth of load is wanted at any time, and three machines at bids serve it.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache

from chalicelib.core.model.endpoint_group import EndpointGroup, Interruptible
from chalicelib.core.model.worker import Worker, WorkerState
from tests.stories.day import Day

HOT = 300.0


def bidding_day() -> tuple[Day, EndpointGroup]:
    """A day that begins with three machines at bids that serve, and the pool behind them.

    Played once for all tests that begin so; each goes on with its own.
    """
    return deepcopy(_beginning())


@cache
def _beginning() -> tuple[Day, EndpointGroup]:
    day = Day(seed=3)
    group = day.group(max_workers=12, min_load=HOT, interruptible=Interruptible.MIXED)
    day.seconds(60)
    day.minutes(40)
    assert len(at_bids(day, WorkerState.READY)) == 3
    return day, group


def rows(day: Day) -> list[Worker]:
    """All worker rows."""
    return list(day.world.workers.rows.values())


def at_bids(day: Day, state: WorkerState) -> list[Worker]:
    """The interruptible ones in this state."""
    return [row for row in rows(day) if row.is_bid and row.state is state]


def floors(day: Day, floor: float) -> None:
    """From now on only bids of so many times the usual one win, anywhere."""
    for country in {m.country for m in day.world.market.offers.machines.values()}:
        day.world.market.offers.bids.floors[country] = [(day.world.now, floor)]
