"""A pretend marketplace with memory: offers, contracts, lives, bill, faults, limits, call log.

The truth behind `fakes.worlds.marketplace.FakeMarketplace` (the port, in process) and
`lab.local.market.marketplace_server` (Vast's API over HTTP). Deterministic for a seed; every method
takes `now` and first lets everything happen that is due. What Vast would answer with an error is
raised as `MarketRefusal` with Vast's status and body.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.fleet.pacing import MIN_INTERVAL_S, Verb, pacing_key
from fakes.market.market_bids import bid_of, check_changed_bid
from fakes.market.market_config import MarketConfig
from fakes.market.market_faults import Fault, FaultBoard
from fakes.market.market_instance import InstanceDriver, MarketInstance, PretendHosts
from fakes.market.market_life import UNAVAILABLE, Lives
from fakes.market.market_meter import Bill
from fakes.market.market_offers import OfferBook, no_such_ask
from fakes.market.market_refusal import MarketRefusal
from fakes.market.market_templates import TemplateShelf, build_order

MAX_CALLS_KEPT = 20_000
_FIRST_INSTANCE_ID = 20_000_001


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached the marketplace, whatever became of it."""

    at: float
    verb: Verb
    detail: str


class Market:
    """See the module. `enforces_limits`: calls that come too early get a 429, as at Vast."""

    def __init__(
        self,
        config: MarketConfig | None = None,
        *,
        seed: int = 0,
        driver: InstanceDriver | None = None,
        enforces_limits: bool = False,
    ) -> None:
        self.config = config or MarketConfig()
        self.faults = FaultBoard()
        self.lives = Lives(self.config, seed, self.faults, driver or PretendHosts())
        self.templates = TemplateShelf()
        self.offers = OfferBook(self.config, seed, self.lives, self.faults)
        self.calls: deque[Call] = deque(maxlen=MAX_CALLS_KEPT)
        self.n_too_frequent = 0  # calls that came before their time, enforced or not
        self._enforces_limits = enforces_limits
        self._last_call_at: dict[str, float] = {}
        self._bids_settled_at = 0.0

    @property
    def instances(self) -> Mapping[int, MarketInstance]:
        """The contracts that exist now, by id."""
        return self.lives.instances

    def advance(self, now: float) -> None:
        """Let everything happen that is due."""
        self.lives.advance(now)
        self._settle_bids(now)

    def next_event_at(self) -> float | None:
        """When something will happen by itself, or None."""
        own = self.lives.next_event_at()
        if not any(instance.is_bid for instance in self.instances.values()):
            return own
        change = self.offers.bids.next_change_at(self._bids_settled_at)
        return min((at for at in (own, change) if at is not None), default=None)

    def bill(self, now: float) -> Bill:
        """What everything has cost up to now."""
        self.advance(now)
        return self.lives.meter.bill(now)

    def credit_usd(self, now: float) -> float:
        """Money left."""
        if self.faults.is_on(Fault.CREDIT_ZERO):
            return 0.0
        self.advance(now)
        return self.config.credit_usd - self.lives.meter.total_usd(now)

    def begin_call(self, verb: Verb, now: float, detail: str = "") -> None:
        """Every call of the API passes here first.

        Raises:
            MarketRefusal: the market is down, or the call came too early.
        """
        self.advance(now)
        self.calls.append(Call(now, verb, detail))
        if self.faults.strikes(Fault.MARKET_DOWN):
            raise MarketRefusal(503, "<html><body>503 Service Unavailable</body></html>")
        if self.faults.strikes(Fault.STORM_429) or self._is_too_frequent(verb, now):
            raise MarketRefusal.too_frequent(self._interval_s(verb))
        if self.credit_usd(now) <= 0:
            for instance in [i for i in self.instances.values() if i.has_gpu]:
                self.lives.interrupt(instance, now, is_let=False)

    def create(self, offer_id: int, body: Mapping[str, object], now: float) -> MarketInstance:
        """Rent an offer with the body of a create (protocol.md F.2).

        Raises:
            MarketRefusal: Vast's refusals; 504 when the answer is lost.
        """
        self._check_create(now)
        bid = bid_of(body)
        machine = self.offers.take(offer_id, now)
        order = build_order(body, self.templates)
        min_bid = self.offers.min_bid(machine, now)
        if bid is not None and bid < min_bid * self.offers.bids.rise * (1 - 1e-9):
            raise no_such_ask(offer_id)  # somebody else's bid has it by now
        is_refused = self.faults.strikes(Fault.SUCCESS_FALSE_CONTRACT)
        instance = MarketInstance(
            instance_id=_FIRST_INSTANCE_ID + len(self.instances) + len(self.lives.gone),
            machine=machine,
            order=order,
            label=order.label,
            gpu_usd_per_hour=self.offers.price(machine, now) if bid is None else bid,
            is_bid=bid is not None,
            min_bid=min_bid,
            storage_usd_per_hour=machine.storage_usd_per_hour(order.disk_gb),
            created_at=now,
            ends_at=now + machine.contract_s,
            intended_status="stopped" if is_refused else "running",
        )
        self.lives.begin(instance, now, is_stopped=is_refused)
        if is_refused:
            raise MarketRefusal.stating(
                200, UNAVAILABLE, "created, not started", new_contract=instance.instance_id
            )
        if self.faults.strikes(Fault.CREATE_TIMEOUT_RENTED):
            raise MarketRefusal(504, "upstream request timeout")
        return instance

    def start(self, instance_id: int, now: float) -> None:
        """Start a stopped instance.

        Raises:
            MarketRefusal: 404, no money, or 200 `resources_unavailable`: it waits for its GPU.
        """
        instance = self.instance(instance_id)
        if self.credit_usd(now) <= 0:
            raise MarketRefusal.stating(400, "missing_billing", "no credit left")
        if instance.is_bid and not self._wins(instance, now):
            self.lives.outbid(instance, now)
            raise _queued()
        instance.is_outbid = False
        problem = self.lives.start(instance, now)
        if problem:
            raise _queued()

    def stop(self, instance_id: int, now: float) -> None:
        """Stop.

        Raises:
            MarketRefusal: 404.
        """
        instance = self.instance(instance_id)
        if not self.faults.strikes(Fault.STOP_IGNORED):
            self.lives.stop(instance, now)

    def change_bid(self, instance_id: int, price: object, now: float) -> None:
        """Bid anew. A higher bid alone brings nothing back (record bid-raised-not-started).

        Raises:
            MarketRefusal: 404, or 400 for a bid out of bounds or a machine on demand.
        """
        instance = self.instance(instance_id)
        usd_per_hour = check_changed_bid(price)
        if not instance.is_bid:
            raise MarketRefusal.stating(400, "invalid_args", "not an interruptible instance")
        self.lives.rebid(instance, usd_per_hour, now)
        self._settle_bids(now)

    def _wins(self, instance: MarketInstance, now: float) -> bool:
        """Whether a rented machine's bid is enough; nobody outbids himself."""
        machine = instance.machine
        floor = self.offers.bids.floor(machine.country, now)
        usual = machine.gpu_usd_per_hour * self.config.bid_ratio
        # Below the usual floor a bid loses without a rival (record bid-outbid-1-s); a bid that was
        # the least when it was made keeps its machine while that floor moves by its rounding.
        least = usual * floor * (1.0 if floor > 1.0 else 0.98)
        needed = max(least, self.offers.bids.rival(machine))
        is_let = self.lives.let_until.get(machine.machine_id, 0.0) > now
        return not is_let and instance.gpu_usd_per_hour >= needed * (1 - 1e-9)

    def _settle_bids(self, now: float) -> None:
        """Take what is outbid, give back what wins again by what others did."""
        self._bids_settled_at = max(now, self._bids_settled_at)
        for instance in list(self.instances.values()):
            if not instance.is_bid or instance.is_destroyed:
                continue
            instance.min_bid = self.offers.min_bid(instance.machine, now)
            wins = self._wins(instance, now)
            if not wins and instance.has_gpu:
                self.lives.outbid(instance, now)
            elif wins and instance.is_outbid and not instance.rebid_while_outbid:
                self.lives.resume(instance, now)

    def relabel(self, instance_id: int, label: str, now: float) -> None:
        """Change a label, as an owner may.

        Raises:
            MarketRefusal: 404.
        """
        self.lives.relabel(self.instance(instance_id), label, now)

    def reboot(self, instance_id: int, now: float) -> None:
        """Reboot the container.

        Raises:
            MarketRefusal: 404, or it is not up.
        """
        instance = self.instance(instance_id)
        if self.faults.strikes(Fault.REBOOT_IGNORED):
            return
        if not self.lives.reboot(instance, now):
            raise MarketRefusal.stating(400, "invalid_state", "the instance is not running")

    def destroy(self, instance_ids: Sequence[int], now: float) -> dict[int, str]:
        """Destroy one or many; gives for each id "" or why not.

        Raises:
            MarketRefusal: 500 or 404 by fault.
        """
        if self.faults.strikes(Fault.DESTROY_FAILS):
            raise MarketRefusal(500, "Internal Server Error")
        if self.faults.strikes(Fault.DESTROY_404):
            raise MarketRefusal.stating(404, "no_such_instance", "no such instance")
        if self.faults.strikes(Fault.DESTROY_IGNORED):
            return dict.fromkeys(instance_ids, "")
        is_partial = len(instance_ids) > 1 and self.faults.strikes(Fault.PARTIAL_BULK)
        outcomes: dict[int, str] = {}
        for place, instance_id in enumerate(instance_ids):
            instance = self.instances.get(instance_id)
            if instance is None:
                outcomes[instance_id] = "no_such_instance"
            elif is_partial and place % 2:
                outcomes[instance_id] = "internal_error"
            else:
                self.lives.destroy(instance, now)
                outcomes[instance_id] = ""
        return outcomes

    def instance(self, instance_id: int) -> MarketInstance:
        """A contract that exists and is not being destroyed.

        Raises:
            MarketRefusal: 404.
        """
        found = self.instances.get(instance_id)
        if found is None or found.is_destroyed:
            raise MarketRefusal.stating(404, "no_such_instance", f"no instance {instance_id}")
        return found

    def switch_on(self, name: str, now: float, **options: float) -> Fault:
        """Switch a named fault on; see `market_faults`.

        Raises:
            UnknownFaultError: no such fault or option.
        """
        self.advance(now)
        fault = self.faults.switch_on(name, options)
        if fault is Fault.HOST_DIES:
            victims = self._victims(fault, now)[:1]
            for instance in victims:
                self.lives.lose_machine(instance.machine.machine_id, now)
        elif fault is Fault.INTERRUPTED:
            for instance in self._victims(fault, now):
                self.lives.interrupt(instance, now)
        elif fault is Fault.OUTBID:
            for instance in self._victims(fault, now):
                if instance.is_bid:
                    machine_id = instance.machine.machine_id
                    self.offers.bids.rivals[machine_id] = 2.0 * instance.gpu_usd_per_hour
            self._settle_bids(now)
        elif fault is Fault.PRICE_INCREASE:
            notice_s = self.faults.option(fault, "notice_s") / self.lives.time_scale
            for instance in self.instances.values():
                self.lives.shorten_contract(instance, now + notice_s)
        return fault

    def switch_off(self, name: str, now: float) -> Fault:
        """Switch a fault off; hosts that died come back.

        Raises:
            UnknownFaultError: no such fault.
        """
        self.advance(now)
        fault = self.faults.switch_off(name)
        if fault is Fault.HOST_DIES:
            self.lives.revive_machines(now)
        elif fault is Fault.OUTBID:
            self.offers.bids.rivals.clear()
            self._settle_bids(now)
        return fault

    def set_time_scale(self, time_scale: float, now: float) -> None:
        """Make delays shorter and bills faster from now on; what is scheduled stays."""
        self.advance(now)
        self.lives.meter.set_time_scale(time_scale, now)
        self.lives.time_scale = time_scale

    def _victims(self, fault: Fault, now: float) -> list[MarketInstance]:
        wanted = int(self.faults.option(fault, "instance_id"))
        running = [i for i in self.instances.values() if i.has_gpu and i.cur_state == "running"]
        return [i for i in running if wanted in (0, i.instance_id)]

    def _check_create(self, now: float) -> None:
        if self.credit_usd(now) <= 0:
            raise MarketRefusal.stating(400, "insufficient_credit", "no credit left")
        if self.faults.strikes(Fault.SPEND_RATE_LIMIT):  # its name is published, its words are not
            raise MarketRefusal.stating(400, "spend_rate_limit", "spend_rate_limit")
        if self.faults.strikes(Fault.CREATE_TIMEOUT_NOT_RENTED):
            raise MarketRefusal(504, "upstream request timeout")

    def _is_too_frequent(self, verb: Verb, now: float) -> bool:
        key = pacing_key(verb)
        is_early = now - self._last_call_at.get(key, float("-inf")) < self._interval_s(verb)
        self._last_call_at[key] = now
        self.n_too_frequent += is_early
        return is_early and self._enforces_limits

    def _interval_s(self, verb: Verb) -> float:
        """Seconds between calls of a verb: a market whose time runs faster takes more of them."""
        return MIN_INTERVAL_S[verb] / self.lives.time_scale


def _queued() -> MarketRefusal:
    """As recorded (state-queued-vastly): no code, only these words."""
    msg = "Required resources are currently unavailable, state change queued."
    return MarketRefusal(200, json.dumps({"success": False, "msg": msg}))
