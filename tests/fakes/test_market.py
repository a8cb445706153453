"""The pretend market by itself: what must hold whatever is done to it."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chalicelib.adapters.vast.rows import parse_instance, parse_offer
from chalicelib.core.fleet.pacing import MIN_INTERVAL_S, Pacing, Verb
from chalicelib.ports.marketplace import (
    CreateRequest,
    MarketplaceUnavailableError,
    RateLimitedError,
)
from fakes.market.market import Market
from fakes.market.market_config import CALM, PROMPT, MarketConfig, Odds, Timings
from fakes.market.market_faults import Fault, UnknownFaultError
from fakes.market.market_instance import MarketInstance, PretendHosts
from fakes.market.market_machines import build_machines, usual_load_s
from fakes.market.market_refusal import MarketRefusal
from fakes.ports.clock import ManualClock
from fakes.worlds.marketplace import FakeMarketplace

ROUGH = Odds(
    boot_error=0.1, load_stuck=0.1, start_refused=0.2, start_stuck=0.1, mean_life_s=50_000.0
)


class Hosts(PretendHosts):
    """Knows which containers run."""

    def __init__(self) -> None:
        self.up: set[int] = set()

    def started(self, instance: MarketInstance, now: float) -> None:
        self.up.add(instance.instance_id)

    def stopping(self, instance: MarketInstance, now: float) -> None:
        self.up.discard(instance.instance_id)

    killed = destroyed = stopping


class MarketMachine(RuleBasedStateMachine):
    """Any sequence of calls, faults and time."""

    @initialize(seed=st.integers(0, 1_000))
    def open(self, seed: int) -> None:
        self.now = 1_800_000_000.0
        self.hosts = Hosts()
        config = MarketConfig(timings=PROMPT, odds=ROUGH, credit_usd=500.0)
        self.market = Market(config, seed=seed, driver=self.hosts)
        self.spent = 0.0

    @rule(place=st.integers(0, 60))
    def create(self, place: int) -> None:
        self._try(lambda: self.market.create(5_000_000 + place, {"label": f"w{place}"}, self.now))

    @rule(place=st.integers(0, 20), verb=st.sampled_from(["start", "stop", "reboot"]))
    def change(self, place: int, verb: str) -> None:
        self._try(lambda: getattr(self.market, verb)(self._some(place), self.now))

    @rule(places=st.lists(st.integers(0, 20), min_size=1, max_size=4))
    def destroy(self, places: list[int]) -> None:
        self._try(lambda: self.market.destroy([self._some(p) for p in places], self.now))

    @rule(fault=st.sampled_from(list(Fault)), is_on=st.booleans())
    def fault(self, fault: Fault, is_on: bool) -> None:
        if is_on:
            self.market.switch_on(fault, self.now)
        else:
            self.market.switch_off(fault, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0, 3_600.0, 90_000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.market.advance(self.now)

    @invariant()
    def no_gpu_is_let_twice(self) -> None:
        holders = [i.machine.machine_id for i in self.market.instances.values() if i.has_gpu]
        assert len(holders) == len(set(holders))

    @invariant()
    def nothing_that_is_rented_is_offered(self) -> None:
        held = {i.machine.machine_id for i in self.market.instances.values() if i.has_gpu}
        for machine_id in held | self.market.lives.dead_machines:
            assert not self.market.lives.is_free(machine_id, self.now)

    @invariant()
    def containers_run_exactly_where_the_market_says(self) -> None:
        """A stop that is under way has ended its container already."""
        said = {
            i.instance_id
            for i in self.market.instances.values()
            if i.actual_status == "running" and i.intended_status == "running" and not i.is_offline
        }
        assert said == self.hosts.up

    @invariant()
    def the_bill_only_grows_and_is_what_the_contracts_owe(self) -> None:
        bill = self.market.bill(self.now)
        assert bill.total_usd >= self.spent
        self.spent = bill.total_usd
        owed = sum(i.rate.total for i in self.market.instances.values())
        assert bill.usd_per_hour == pytest.approx(owed)
        assert bill.peak_usd_per_hour >= bill.usd_per_hour

    @invariant()
    def what_is_stopped_or_offline_costs_storage_only(self) -> None:
        for instance in self.market.instances.values():
            if instance.cur_state != "running" or instance.is_offline:
                assert instance.rate.gpu_usd_per_hour == 0
            assert instance.rate.storage_usd_per_hour > 0

    @invariant()
    def every_row_can_be_read(self) -> None:
        for instance in self.market.instances.values():
            record = parse_instance(instance.row())
            assert record.instance_id == instance.instance_id
            assert bool(record.ports) == (instance.actual_status == "running")

    def _some(self, place: int) -> int:
        ids = sorted(self.market.instances)
        return ids[place % len(ids)] if ids else 1

    def _try(self, act: object) -> None:
        assert callable(act)
        try:
            act()
        except MarketRefusal as refused:
            assert refused.status >= 200  # noqa: PT017  any refusal is an answer of the market


TestMarket = MarketMachine.TestCase
TestMarket.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def history(seed: int) -> list[object]:
    """What a fixed series of calls and waits leads to."""
    market, now = Market(MarketConfig(odds=ROUGH), seed=seed), 1_800_000_000.0
    seen: list[object] = []
    for place in range(10):
        market.create(5_000_000 + place, {"label": str(place)}, now)
        now += 137.0
        market.advance(now)
        seen += [i.row() for i in market.instances.values()]
    return [*seen, market.bill(now + 1e5), market.offers.search({}, now + 1e5)]


def test_the_same_seed_gives_the_same_market() -> None:
    assert history(1) == history(1)
    assert history(1) != history(2)


def test_looking_in_between_changes_nothing() -> None:
    """A life does not depend on how often somebody asks, nor on other lives."""
    markets = [Market(MarketConfig(odds=ROUGH), seed=4) for _ in range(2)]
    for market in markets:
        market.create(5_000_000, {"label": "x"}, 0.0)
    markets[1].create(5_000_001, {"label": "other"}, 0.0)
    for step in range(1_000):
        markets[0].advance(step * 7.0)
    first_id = min(markets[0].instances)
    rows = [m.bill(7_000.0).by_instance[first_id] for m in markets]
    assert rows[0] == rows[1]


def test_there_are_offers_of_many_models_at_many_prices() -> None:
    rows = Market(seed=1).offers.search({"allocated_storage": 40.0, "limit": 500}, 0.0)
    offers = [parse_offer(row, 40.0, 0.0) for row in rows]
    assert len({offer.gpu_name for offer in offers}) >= 8
    prices = [offer.usd_per_hour for offer in offers if offer.gpu_type == "1x RTX 4090"]
    assert max(prices) > 1.2 * min(prices)


def test_prices_move_with_time_and_stay_within_a_period() -> None:
    market = Market(seed=1)
    prices = [market.offers.search({"limit": 1}, at)[0]["dph_base"] for at in (0.0, 3_599.0)]
    assert prices[0] == prices[1]
    later = {row["id"]: row["dph_base"] for row in market.offers.search({}, 90_000.0)}
    now = {row["id"]: row["dph_base"] for row in market.offers.search({}, 0.0)}
    assert later != now


def test_a_limit_refuses_calls_that_come_too_early() -> None:
    market, clock = Market(seed=1, enforces_limits=True), ManualClock()
    marketplace = FakeMarketplace(market, clock)
    marketplace.account_credit_usd()
    with pytest.raises(RateLimitedError):
        marketplace.account_credit_usd()
    clock.advance(MIN_INTERVAL_S[Verb.CREDIT])
    marketplace.account_credit_usd()
    assert market.n_too_frequent == 1


def test_a_market_whose_time_runs_faster_takes_more_calls() -> None:
    """One that ran sixty times faster still counted nearly every call as too early."""
    market, clock = Market(seed=1, enforces_limits=True), ManualClock()
    market.set_time_scale(60.0, clock.now())
    pacing = Pacing({}, 1 / 60)
    for verb in Verb:
        for _ in range(5):
            market.begin_call(verb, clock.now())
            pacing = pacing.called(verb, clock.now())
            clock.advance(pacing.wait_s(verb, clock.now()))
    assert market.n_too_frequent == 0
    market.begin_call(Verb.SEARCH, clock.now())
    with pytest.raises(MarketRefusal) as refused:
        market.begin_call(Verb.SEARCH, clock.now() + MIN_INTERVAL_S[Verb.SEARCH] / 60 - 0.001)
    assert refused.value.headers["Retry-After"] == "1"


def test_a_planned_failure_before_has_no_effect_and_after_has_it() -> None:
    clock = ManualClock()
    market = Market(MarketConfig(timings=PROMPT, odds=CALM), seed=1)
    marketplace = FakeMarketplace(market, clock)
    error = MarketplaceUnavailableError("lost")
    request = CreateRequest(offer_id=5_000_000, label="x", template_hash=None, disk_gb=10.0, env={})
    marketplace.fail_next("create", error, when="before")
    with pytest.raises(MarketplaceUnavailableError):
        marketplace.create_instance(request)
    assert not market.instances
    marketplace.fail_next("create", KeyboardInterrupt(), when="after")
    with pytest.raises(KeyboardInterrupt):
        marketplace.create_instance(request)
    (instance_id,) = market.instances
    marketplace.fail_next(Verb.DESTROY, error, times=2)
    for _ in range(2):
        with pytest.raises(MarketplaceUnavailableError):
            marketplace.destroy_instances([instance_id])
    assert marketplace.destroy_instances([instance_id]) == {instance_id: ""}


def test_a_fault_may_strike_a_few_times_only() -> None:
    market = Market(seed=1)
    market.switch_on("offer-gone", 0.0, times=2)
    for _ in range(2):
        with pytest.raises(MarketRefusal):
            market.create(5_000_000, {}, 0.0)
    assert market.create(5_000_000, {}, 0.0).instance_id


def test_a_fault_that_does_not_exist_lists_those_that_do() -> None:
    with pytest.raises(UnknownFaultError, match="host-dies"):
        Market().switch_on("typo", 0.0)
    with pytest.raises(UnknownFaultError, match="factor"):
        Market().switch_on("price-increase", 0.0, typo=1.0)


def test_first_loads_follow_the_line_and_the_host_of_an_offer() -> None:
    machines = build_machines(MarketConfig(), seed=1).values()
    times = {m.machine_id: usual_load_s(m, Timings()) for m in machines}
    slow, fast = (pick(machines, key=lambda m: m.inet_down_mbps) for pick in (min, max))
    assert times[slow.machine_id] / slow.pace > 2 * times[fast.machine_id] / fast.pace
    paces: dict[int, set[float]] = {}
    for machine in machines:
        paces.setdefault(machine.host_id, set()).add(machine.pace)
    assert all(len(one) == 1 for one in paces.values())
    assert len(set.union(*paces.values())) == len(paces) > 20
    assert {
        usual_load_s(m, PROMPT)
        for m in build_machines(MarketConfig(timings=PROMPT), seed=1).values()
    } == {5.0}
