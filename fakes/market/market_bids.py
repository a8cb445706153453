"""Who else wants the machines: other bidders, and availability over time, by country."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

from fakes.market.market_machines import Machine
from fakes.market.market_refusal import MarketRefusal

MIN_BID_USD, MAX_BID_USD, MAX_CHANGED_BID_USD = 0.001, 128.0, 32.0
"""What Vast takes, at a create and at a change (tests/evidence/vast/README.md)."""


class BidBook:
    """Rivals by machine, and the floors of whole countries.

    `floors`: (from, least winning bid over the usual one), in order of time; before: the usual.
    """

    def __init__(self, floors: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        self.floors = {country: list(steps) for country, steps in floors.items()}
        self.rivals: dict[int, float] = {}  # machine id → dollars an hour that somebody else bids
        self.shown = 1.0  # of the least winning bid: what searches show, and creates take
        self.rise = 1.0  # of what a search showed, by the time a create comes

    def floor(self, country: str, now: float) -> float:
        """The least winning bid over the usual one now."""
        steps = self.floors.get(country, [])
        index = bisect_right(steps, (now, math.inf)) - 1
        return steps[index][1] if index >= 0 else 1.0

    def rival(self, machine: Machine) -> float:
        """What somebody else bids for the machine."""
        return self.rivals.get(machine.machine_id, 0.0)

    def next_change_at(self, now: float) -> float | None:
        """When a floor changes next."""
        later = [at for steps in self.floors.values() for at, _ in steps if at > now]
        return min(later, default=None)


def bid_of(body: Mapping[str, object]) -> float | None:
    """The bid of a create; None: on demand.

    Raises:
        MarketRefusal: 400 `invalid_price` out of bounds (record create-bad-price).
    """
    price = body.get("price")
    if price is None:
        return None
    if not isinstance(price, int | float) or not MIN_BID_USD <= price <= MAX_BID_USD:
        said = f"Please set a bid price >= {MIN_BID_USD} and <= {MAX_BID_USD}"
        raise MarketRefusal.stating(400, "invalid_price", said)
    return float(price)


def check_changed_bid(usd_per_hour: object) -> float:
    """A changed bid.

    Raises:
        MarketRefusal: 400 out of bounds (record bid-too-low).
    """
    if isinstance(usd_per_hour, int | float) and not isinstance(usd_per_hour, bool):
        if usd_per_hour < MIN_BID_USD:
            said = f"Please set a bid price >= {MIN_BID_USD}."
            raise MarketRefusal.stating(400, "invalid_args", said)
        if usd_per_hour <= MAX_CHANGED_BID_USD:
            return float(usd_per_hour)
    said = f"Please set a bid price <= {MAX_CHANGED_BID_USD}."
    raise MarketRefusal.stating(400, "invalid_args", said)
