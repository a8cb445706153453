"""The offers of the pretend market: who rents what at which price, now."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from fakes.market.market_bids import BidBook
from fakes.market.market_config import MarketConfig
from fakes.market.market_faults import Fault, FaultBoard
from fakes.market.market_instance import DEFAULT_DISK_GB
from fakes.market.market_life import Lives
from fakes.market.market_machines import Machine, build_machines, offer_row, price_now
from fakes.market.market_refusal import MarketRefusal


def no_such_ask(offer_id: int) -> MarketRefusal:
    """The answer to a create of an offer that is gone (record create-gone-400-live-2026-02)."""
    text = f"error 404/3603: no_such_ask  Instance type by id {offer_id} is not available."
    return MarketRefusal.stating(400, "invalid_args", text, ask_id=offer_id)


class OfferBook:
    """All machines, and those that can be rented."""

    def __init__(self, config: MarketConfig, seed: int, lives: Lives, faults: FaultBoard) -> None:
        self.machines = build_machines(config, seed)  # by offer id
        self.price_overrides: dict[int, float] = {}  # offer id → $ per hour of its GPUs
        self.bids = BidBook(config.bid_floors)
        self._config, self._seed, self._lives, self._faults = config, seed, lives, faults

    def search(self, conditions: Conditions, now: float) -> list[Row]:
        """Rows of the offers that can be rented now and meet the conditions, in their order.

        Raises:
            MarketRefusal: 400 for conditions that make no sense.
        """
        disk, limit = conditions.get("allocated_storage"), conditions.get("limit")
        disk_gb = float(disk) if isinstance(disk, int | float) else DEFAULT_DISK_GB
        try:
            rows = self._rows(disk_gb, now, is_bid=conditions.get("type") == "bid")
            found: list[Row] = [r for r in rows if matches(r, conditions)]
        except QueryError as error:
            raise MarketRefusal.stating(400, "invalid_args", str(error)) from error
        found = ordered(found, conditions.get("order") or [["score", "desc"]])
        return found[: limit if isinstance(limit, int) and limit > 0 else len(found)]

    def take(self, offer_id: int, now: float) -> Machine:
        """The machine of an offer that can be rented now.

        Raises:
            MarketRefusal: as recorded of the real one: an offer that is gone answers 400 with
                `invalid_args`, and only msg says `no_such_ask`; one just taken may answer 410.
        """
        machine = self.machines.get(offer_id)
        if machine is None:
            raise no_such_ask(offer_id)
        is_free = self._lives.is_free(machine.machine_id, now)
        if self._faults.strikes(Fault.OFFER_GONE) or not is_free:
            raise no_such_ask(offer_id)
        return machine

    def price(self, machine: Machine, now: float) -> float:
        """What the GPUs of a machine cost per hour now."""
        price = self.price_overrides.get(machine.offer_id)
        if price is None:
            price = price_now(machine, self._config, self._seed, now)
        if self._faults.is_on(Fault.PRICE_INCREASE):
            price *= self._faults.option(Fault.PRICE_INCREASE, "factor")
        return price

    def min_bid(self, machine: Machine, now: float) -> float:
        """The least bid that wins the machine now, as far as it is shown; inf where no bid does."""
        usual = self.price(machine, now) * self._config.bid_ratio
        least = max(usual * self.bids.floor(machine.country, now), self.bids.rival(machine))
        return least * self.bids.shown

    def _rows(self, disk_gb: float, now: float, *, is_bid: bool) -> list[dict[str, object]]:
        ours = {i.machine.machine_id for i in self._lives.instances.values()}
        rows = []
        for machine in self.machines.values():
            min_bid = self.min_bid(machine, now)
            if not self._lives.is_free(machine.machine_id, now) or (is_bid and min_bid == math.inf):
                continue
            row = offer_row(
                machine,
                gpu_usd_per_hour=self.price(machine, now),
                disk_gb=disk_gb,
                now=now,
                is_rented=machine.machine_id in ours,
                min_bid=min_bid,
            )
            rows.append({**row, "is_bid": True} if is_bid else row)
        return rows


# Conditions of Vast's searches, evaluated: {"gpu_ram": {"gte": 23000.0}} (protocol.md F.1).

Row = Mapping[str, object]
Conditions = Mapping[str, object]

_CONTROL_FIELDS = frozenset({"order", "type", "limit", "allocated_storage", "disable_bundling"})


class QueryError(ValueError):
    """A condition that Vast would answer with 400."""


def matches(row: Row, conditions: Conditions) -> bool:
    """Whether a row meets all conditions; a field that the row lacks counts as met, as at Vast.

    Raises:
        QueryError: an operator that does not exist.
    """
    return all(
        _meets(row[name], condition)
        for name, condition in conditions.items()
        if name in row and name not in _CONTROL_FIELDS
    )


def ordered(rows: Iterable[Row], order: object) -> list[Row]:
    """The rows by `[["dph_total", "asc"], …]`, the first field being the most important."""
    result = list(rows)
    for entry in reversed(order if isinstance(order, list) else []):
        name, direction = str(entry[0]), str(entry[1])
        result.sort(key=lambda row: _sort_key(row.get(name)), reverse=direction == "desc")
    return result


def _sort_key(value: object) -> tuple[int, float, str]:
    if isinstance(value, bool | int | float):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _meets(value: object, condition: object) -> bool:
    if not isinstance(condition, Mapping):
        return _equal(value, condition)
    return all(_operator(str(name))(value, wanted) for name, wanted in condition.items())


def _operator(name: str) -> Callable[[object, object], bool]:
    try:
        return _OPERATORS[name]
    except KeyError as error:
        raise QueryError(f"unknown operator {name!r}") from error


def _equal(value: object, wanted: object) -> bool:
    """Compare as Vast does: values of a query are mostly strings (protocol.md G 47)."""
    if isinstance(value, bool) or value is None or wanted is None or isinstance(wanted, bool):
        return value is wanted or str(value).lower() == str(wanted).lower()
    if isinstance(value, int | float):
        number = _number(wanted)
        return number is not None and number == float(value)
    return str(value) == str(wanted)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


def _comparison(test: Callable[[float, float], bool]) -> Callable[[object, object], bool]:
    def compare(value: object, wanted: object) -> bool:
        a, b = _number(value), _number(wanted)
        return a is not None and b is not None and test(a, b)

    return compare


def _is_in(value: object, wanted: object) -> bool:
    return any(_equal(value, item) for item in (wanted if isinstance(wanted, list) else [wanted]))


_OPERATORS: Mapping[str, Callable[[object, object], bool]] = {
    "eq": _equal,
    "neq": lambda value, wanted: not _equal(value, wanted),
    "gt": _comparison(lambda a, b: a > b),
    "gte": _comparison(lambda a, b: a >= b),
    "lt": _comparison(lambda a, b: a < b),
    "lte": _comparison(lambda a, b: a <= b),
    "in": _is_in,
    "notin": lambda value, wanted: not _is_in(value, wanted),
}
