"""The control API of the pretend market, `/_market/…`: faults, prices, time, the true bill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request

from fakes.market.market_faults import Fault, UnknownFaultError
from fakes.market.market_refusal import MarketRefusal
from lab.local.market.marketplace_messages import Body, parse_body
from lab.local.market.marketplace_world import MarketWorld

MAX_TIME_SCALE = 10_000.0


class MarketplaceControl:
    """Handlers by name; `CONTROL_URL_MAP` says which path is whose."""

    def __init__(self, world: MarketWorld) -> None:
        self._world = world
        self._market = world.market

    def overview(self, request: Request) -> Body:
        """How the market is set."""
        with self._world.lock:
            return {
                "success": True,
                "time_scale": self._market.lives.time_scale,
                "n_instances": len(self._market.instances),
                "n_offers": len(self._market.offers.machines),
                "n_too_frequent": self._market.n_too_frequent,
                "faults": self._active_faults(),
            }

    def faults(self, request: Request) -> Body:
        """All names, and which are on with which options."""
        with self._world.lock:
            return {
                "success": True,
                "known": [fault.value for fault in Fault],
                "active": self._active_faults(),
            }

    def switch_fault(self, request: Request) -> Body:
        """`{"fault": NAME, "on": true|false, …options}`."""
        options = dict(parse_body(request))
        name, is_on = str(options.pop("fault", "")), options.pop("on", True)
        if not isinstance(is_on, bool):
            raise MarketRefusal.stating(400, "invalid_args", f"on: {is_on!r} is not true or false")
        values = {option: _number(option, value) for option, value in options.items()}
        with self._world.at_now() as now:
            try:
                if is_on:
                    self._market.switch_on(name, now, **values)
                else:
                    self._market.switch_off(name, now)
            except UnknownFaultError as error:
                raise MarketRefusal.stating(400, "invalid_args", str(error)) from error
            return {"success": True, "active": self._active_faults()}

    def bill(self, request: Request) -> Body:
        """The bill that the market integrates by itself."""
        with self._world.at_now() as now:
            bill = self._market.bill(now)
        by_instance = {str(i): asdict(contract) for i, contract in bill.by_instance.items()}
        return {"success": True, "at": now, **asdict(bill), "by_instance": by_instance}

    def instances(self, request: Request) -> Body:
        """The truth, whatever the faults: rows as Vast's, with the process id of each container."""
        with self._world.lock:
            rows = [
                {**instance.row(), "pid": self._world.driver.pid(instance.instance_id)}
                for instance in self._market.instances.values()
            ]
        return {"success": True, "instances": rows}

    def offers(self, request: Request) -> Body:
        """What can be rented now."""
        with self._world.at_now() as now:
            return {"success": True, "offers": self._market.offers.search({}, now)}

    def set_price(self, request: Request) -> Body:
        """`{"offer_id": N, "usd_per_hour": X}`: a fixed price of its GPUs; null lets it move."""
        body = parse_body(request)
        offer_id, price = body.get("offer_id"), body.get("usd_per_hour")
        with self._world.lock:
            if offer_id not in self._market.offers.machines or not isinstance(offer_id, int):
                raise MarketRefusal.stating(404, "no_such_ask", f"offer_id: {offer_id!r}")
            if price is None:
                self._market.offers.price_overrides.pop(offer_id, None)
            else:
                self._market.offers.price_overrides[offer_id] = _number("usd_per_hour", price)
        return {"success": True}

    def set_time_scale(self, request: Request) -> Body:
        """`{"time_scale": X}`: delays X times shorter, bills X times faster, from now on."""
        time_scale = _number("time_scale", parse_body(request).get("time_scale"))
        if not 0 < time_scale <= MAX_TIME_SCALE:
            raise MarketRefusal.stating(
                400, "invalid_args", f"time_scale: above 0 to {MAX_TIME_SCALE:g}"
            )
        with self._world.at_now() as now:
            self._market.set_time_scale(time_scale, now)
        return {"success": True, "time_scale": time_scale}

    def calls(self, request: Request) -> Body:
        """Every call of Vast's API so far."""
        with self._world.lock:
            return {"success": True, "calls": [asdict(call) for call in self._market.calls]}

    def _active_faults(self) -> Mapping[str, Mapping[str, float]]:
        return {fault.value: dict(o) for fault, o in self._market.faults.active.items()}


CONTROL_URL_MAP = Map(
    [
        Rule("/_market", endpoint="overview", methods=["GET"]),
        Rule("/_market/faults", endpoint="faults", methods=["GET"]),
        Rule("/_market/faults", endpoint="switch_fault", methods=["POST"]),
        Rule("/_market/bill", endpoint="bill", methods=["GET"]),
        Rule("/_market/instances", endpoint="instances", methods=["GET"]),
        Rule("/_market/offers", endpoint="offers", methods=["GET"]),
        Rule("/_market/offers", endpoint="set_price", methods=["POST"]),
        Rule("/_market/time_scale", endpoint="set_time_scale", methods=["POST"]),
        Rule("/_market/calls", endpoint="calls", methods=["GET"]),
    ],
    strict_slashes=False,
)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MarketRefusal.stating(400, "invalid_args", f"{name}: {value!r} is not a number")
    return float(value)
