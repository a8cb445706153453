"""The offers of the pretend market: who rents what at which price, now."""

from __future__ import annotations

from fakes.market_config import MarketConfig
from fakes.market_faults import Fault, FaultBoard
from fakes.market_instance import DEFAULT_DISK_GB
from fakes.market_life import Lives
from fakes.market_machines import Machine, build_machines, offer_row, price_now
from fakes.market_query import Conditions, QueryError, Row, matches, ordered
from fakes.market_refusal import MarketRefusal


class OfferBook:
    """All machines, and those that can be rented."""

    def __init__(self, config: MarketConfig, seed: int, lives: Lives, faults: FaultBoard) -> None:
        self.machines = build_machines(config, seed)  # by offer id
        self.price_overrides: dict[int, float] = {}  # offer id → $ per hour of its GPUs
        self._config, self._seed, self._lives, self._faults = config, seed, lives, faults

    def search(self, conditions: Conditions, now: float) -> list[Row]:
        """Rows of the offers that can be rented now and meet the conditions, in their order.

        Raises:
            MarketRefusal: 400 for conditions that make no sense.
        """
        disk, limit = conditions.get("allocated_storage"), conditions.get("limit")
        disk_gb = float(disk) if isinstance(disk, int | float) else DEFAULT_DISK_GB
        try:
            found: list[Row] = [r for r in self._rows(disk_gb, now) if matches(r, conditions)]
        except QueryError as error:
            raise MarketRefusal.stating(400, "invalid_args", str(error)) from error
        found = ordered(found, conditions.get("order") or [["score", "desc"]])
        return found[: limit if isinstance(limit, int) and limit > 0 else len(found)]

    def take(self, offer_id: int, now: float) -> Machine:
        """The machine of an offer that can be rented now.

        Raises:
            MarketRefusal: 404 or 410 `no_such_ask`.
        """
        machine = self.machines.get(offer_id)
        if machine is None:
            raise MarketRefusal.stating(404, "no_such_ask", f"no offer {offer_id}")
        is_free = self._lives.is_free(machine.machine_id, now)
        if self._faults.strikes(Fault.OFFER_GONE) or not is_free:
            raise MarketRefusal.stating(410, "no_such_ask", f"offer {offer_id} is gone")
        return machine

    def price(self, machine: Machine, now: float) -> float:
        """What the GPUs of a machine cost per hour now."""
        price = self.price_overrides.get(machine.offer_id)
        if price is None:
            price = price_now(machine, self._config, self._seed, now)
        if self._faults.is_on(Fault.PRICE_INCREASE):
            price *= self._faults.option(Fault.PRICE_INCREASE, "factor")
        return price

    def _rows(self, disk_gb: float, now: float) -> list[dict[str, object]]:
        ours = {i.machine.machine_id for i in self._lives.instances.values()}
        return [
            offer_row(
                machine,
                gpu_usd_per_hour=self.price(machine, now),
                disk_gb=disk_gb,
                now=now,
                is_rented=machine.machine_id in ours,
            )
            for machine in self.machines.values()
            if self._lives.is_free(machine.machine_id, now)
        ]
