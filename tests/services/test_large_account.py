"""A thousand machines at 0.6 s a page: the scaler's loop against its minute, in virtual time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf

import pytest

from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import VastAnswer, VastRequest
from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.market import NO_PAGES, InstanceListing
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.services.keys import issue_key
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.rounds.turns import MANY_GROUPS
from fakes.market.market import Market
from fakes.market.market_config import CALM, PROMPT, GpuModel, MarketConfig
from fakes.market.market_pages import PageQuery, listing_page
from fakes.ports.clock import ManualClock
from fakes.worlds.marketplace import FakeMarketplace
from fakes.worlds.world import REQUEST_COST, World
from tests.faults.stories import count_calls, set_group
from tests.services.crowd import Caller, Crowd
from tests.services.test_many_groups import add

N_OTHERS = 995  # the owner's own machines, in the same account
PAGE_S = 0.6
LIMIT_S, RESERVE_S = 60.0, 8.0  # the function's, of .chalice/config.json and api/routes/scaler.py
OLDEST_S = 180.0
MODEL = GpuModel(
    name="RTX 4090", gpu_ram_gb=24, usd_per_hour=0.35, relative_perf=1.0, dlperf=100, n_machines=40
)
OTHERS = GpuModel(
    name="RTX 3060", gpu_ram_gb=12, usd_per_hour=0.1, relative_perf=0.3, dlperf=20, n_machines=1_000
)
CONFIG = MarketConfig(
    models=(MODEL, OTHERS), timings=PROMPT, odds=CALM, price_move_sigma=0.0, credit_usd=1e6
)


class PagedMarketplace(FakeMarketplace):
    """Its listing is the adapter's own, page by page, each as slow as a busy Vast."""

    def __init__(self, market: Market, clock: ManualClock) -> None:
        super().__init__(market, clock)
        self.clock = clock
        self._adapter = VastMarketplace(
            url="https://console.vast.ai", api_key=lambda: "k", clock=clock, send=self._page
        )

    def list_instances(
        self, so_far: Mapping[str, object] = NO_PAGES, *, ends_at: float = inf
    ) -> InstanceListing:
        """All instances, or as many as its deadline lets through."""
        return self._adapter.list_instances(so_far, ends_at=ends_at)

    def _page(self, request: VastRequest) -> VastAnswer:
        self.clock.sleep(PAGE_S)
        query = PageQuery(after_token=str(request.params.get("after_token", "") or ""))
        return VastAnswer(200, json.dumps(listing_page(self.market, query, self.clock.now())))


@dataclass
class Schedule:
    """The function once a minute; each execution ends before its time limit, or is killed."""

    world: World
    n_killed: int = 0
    n_idle: int = 0  # executions without a round
    n_doubts: int = 0  # rounds that the owner is told of as such
    oldest_s: float = 0.0  # of the complete listing that is known at a moment
    known: tuple[bytes, RoundMemory] = (b"", RoundMemory())
    crowd: Crowd | None = None

    def __post_init__(self) -> None:
        self.world.clock.meanwhile = self.pass_time

    def pass_time(self, seconds: float) -> None:
        """Somebody sleeps, or waits for a page."""
        if self.crowd is None:
            self.world.tick(seconds)
        else:
            self._with_crowd(self.crowd, self.world.now + seconds)
        listed_at = self.memory().inventory.listed_at
        if listed_at:
            self.oldest_s = max(self.oldest_s, self.world.now - listed_at)

    def _with_crowd(self, crowd: Crowd, end: float) -> None:
        """The clients ask real routers, at their own moments."""
        while self.world.now < end:
            crowd.run(min(1.0, end - self.world.now))
            self.world.market.advance(self.world.now)
            self.world.report_workers()

    def minutes(self, n: int) -> None:
        """So many executions, each with the rest of its minute."""
        for _ in range(n):
            began_at = self.world.now
            figures = scaling_loop(self.world.ports, deadline_at=began_at + LIMIT_S - RESERVE_S)
            self.n_killed += self.world.now > began_at + LIMIT_S
            self.n_idle += not figures
            self.n_doubts += sum(int(one.get("UnknownInventory", 0)) for one in figures)
            self.pass_time(max(0.0, began_at + 60.0 - self.world.now))

    def memory(self) -> RoundMemory:
        """What the last round left."""
        blob = self.world.ledger.read_blob(BLOB_NAME) or b""
        if blob != self.known[0]:
            self.known = (blob, RoundMemory.from_bytes(blob))
        return self.known[1]


def large_account() -> Schedule:
    """A thousand machines that are not Ballast's, and no group yet."""
    world = World(CONFIG, seed=2)
    paged = PagedMarketplace(world.market, world.clock)
    world.ports = world.owner_ports = replace(world.ports, marketplace=paged)
    body = {"image": "mine", "label": "training", "disk": 10.0}
    query = {"limit": 2 * N_OTHERS, "gpu_name": {"eq": OTHERS.name}}
    for offer in world.market.offers.search(query, world.now)[:N_OTHERS]:
        world.market.create(int(str(offer["id"])), body, world.now)
    assert len(world.market.instances) == N_OTHERS
    return Schedule(world)


def test_a_thousand_machines_are_listed_in_turns_and_every_minute_acts_on_what_is_known() -> None:
    schedule = large_account()
    world = schedule.world
    group = world.add_group(cold_workers=0, max_workers=6, min_load=150.0)
    schedule.minutes(6)
    n_at_first = len(world.workers.rows)
    assert n_at_first >= 2
    n_doubts = schedule.n_doubts  # until the first listing was whole
    others = world.add_group("another", cold_workers=0, max_workers=2)
    n_before = len(world.market.instances)
    world.ask(others.endpoint_id, 1)
    schedule.minutes(1)
    assert len(world.market.instances) > n_before  # by what is known, while a listing is under way
    schedule.minutes(3)
    assert not world.n_waiting
    assert schedule.n_doubts == n_doubts
    set_group(world, others.endpoint_id, state=GroupState.DELETING)
    set_group(world, group.endpoint_id, state=GroupState.DELETING)
    schedule.minutes(3)
    assert len(world.market.instances) == N_OTHERS  # the owner's own are left alone
    schedule.minutes(6)  # two listings without them
    assert not world.workers.rows
    assert count_calls(world, Verb.DESTROY) <= 4  # nothing is ordered again and again
    assert schedule.n_killed == 0
    assert schedule.n_idle == 0
    assert schedule.oldest_s <= OLDEST_S, schedule.oldest_s


@pytest.mark.long
def test_an_hour_with_a_thousand_machines_kills_no_loop() -> None:
    schedule = large_account()
    world = schedule.world
    group = world.add_group(cold_workers=1, max_workers=6)
    for _ in range(12):
        world.ask(group.endpoint_id, 3)
        schedule.minutes(5)
        assert not world.n_waiting
    assert (schedule.n_killed, schedule.n_idle) == (0, 0)
    assert schedule.oldest_s <= OLDEST_S


N_GROUPS, N_TENANTS, EACH = 10_000, 400, 5
SERVED_WITHIN = 15  # minutes; six workers take 2,000 requests of a second each in 5.6 at best


@pytest.mark.long
def test_ten_thousand_groups_and_two_thousand_waiting_clients_of_four_hundred_tenants() -> None:
    """Beside the thousand machines: every minute acts on what is known, and everybody is served."""
    schedule = large_account()
    world = schedule.world
    group = world.add_group("busy", cold_workers=0, max_workers=6)
    (like,) = world.owner_ports.groups.list_autogroups()
    autogroup = replace(like, test_workers=0, revision=2)
    world.owner_ports.groups.put_autogroup(autogroup, expected_revision=1)
    for n in range(N_GROUPS):
        add(world, group, autogroup, f"group {n}")
    world.publish()
    schedule.minutes(2 + N_GROUPS // MANY_GROUPS)
    assert not world.workers.rows
    assert len(schedule.memory().groups) == N_GROUPS + 1  # each has been decided on
    schedule.n_killed = schedule.n_idle = 0

    crowd = schedule.crowd = Crowd(world.owner_ports, world.clock, group.name)
    began_at = world.now
    tenants = [
        issue_key(world.owner_ports, name=f"tenant {n}", verbs=("route",))[0]
        for n in range(N_TENANTS)
    ]
    for n in range(N_TENANTS * EACH):  # within ten seconds
        caller = Caller(tenants[n % N_TENANTS], REQUEST_COST, asked_at=began_at + n / 200)
        crowd.add(caller)
    schedule.minutes(1)
    assert len(world.waiting.rows) > 1_900
    schedule.minutes(SERVED_WITHIN)
    assert (schedule.n_killed, schedule.n_idle) == (0, 0)
    assert schedule.oldest_s <= OLDEST_S, schedule.oldest_s
    assert all(caller.granted_at for caller in crowd.callers)
    half = sorted(crowd.callers, key=lambda one: one.granted_at or 0.0)[: len(crowd.callers) // 2]
    served = Counter(caller.key for caller in half)
    assert len(served) >= 0.95 * N_TENANTS, Counter(served.values())
