"""What every marketplace must do: the fake in process, and the real adapter over real HTTP.

Both stand on the same pretend market in virtual time, so every test also says what is true there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chalicelib.adapters.vast import VastMarketplace
from chalicelib.core.pacing import Verb
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    CreateRequest,
    Marketplace,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)
from devstack.marketplace_processes import ProcessDriver
from devstack.marketplace_server import serve_world
from devstack.marketplace_world import MarketWorld
from devstack.process_watchdog import ProcessWatchdog
from fakes.clock import ManualClock
from fakes.market import Market
from fakes.market_config import CALM, PROMPT, MarketConfig
from fakes.marketplace import FakeMarketplace

CONFIG = MarketConfig(timings=PROMPT, odds=CALM)
RTX_4090 = {"gpu_name": {"eq": "RTX 4090"}, "num_gpus": {"eq": "1"}}
SECRET = "master-token-canary"
BOOTED_S = 30.0
TEMPLATE = {
    "name": "hello",
    "image": "example/hello",
    "tag": "1",
    "env": "-e A=B -e WORDS='two words' -p 3000:3000",
    "extra_filters": {"gpu_ram": {"gte": 23_000.0}},
    "recommended_disk_space": 16.0,
}


@dataclass(frozen=True)
class Subject:
    """A marketplace, the market behind it, and the clock of both."""

    marketplace: Marketplace
    market: Market
    clock: ManualClock
    template_hash: str

    def rent(self, label: str = "chat · 0123", place: int = 0) -> int:
        """Rent the nth offer as the scaler does."""
        offers = self.marketplace.search_offers({}, disk_gb=40.0, limit=200)
        return self.marketplace.create_instance(self.request(offers[place].offer_id, label))

    def request(self, offer_id: int, label: str = "chat · 0123") -> CreateRequest:
        """A create."""
        return CreateRequest(
            offer_id=offer_id,
            label=label,
            template_hash=self.template_hash,
            disk_gb=40.0,
            env={"MASTER_TOKEN": SECRET, "-p 3000:3000": "1"},
        )

    def later(self, seconds: float = BOOTED_S) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.market.advance(self.clock.now())

    def fault(self, name: str, **options: float) -> None:
        """Switch a fault on."""
        self.market.switch_on(name, self.clock.now(), **options)


@pytest.fixture(scope="module")
def watchdog() -> Iterator[ProcessWatchdog]:
    """One for all: no test here starts a process."""
    with ProcessWatchdog() as running:
        yield running


@pytest.fixture(params=["in process", "over HTTP"])
def subject(
    request: pytest.FixtureRequest, tmp_path: Path, watchdog: ProcessWatchdog
) -> Iterator[Subject]:
    """Both marketplaces, each with a fresh market."""
    clock = ManualClock()
    driver = ProcessDriver(tmp_path, watchdog)
    over_http = request.param == "over HTTP"
    market = Market(CONFIG, seed=7, driver=driver if over_http else None)
    template_hash = str(market.templates.add(TEMPLATE, clock.now())["hash_id"])
    if not over_http:
        yield Subject(FakeMarketplace(market, clock), market, clock, template_hash)
        return
    with serve_world(MarketWorld(market, driver, now=clock.now), api_key="key") as url:
        adapter = VastMarketplace(url=url, api_key=lambda: "key", clock=clock)
        yield Subject(adapter, market, clock, template_hash)


def test_a_search_gives_only_offers_that_meet_the_query(subject: Subject) -> None:
    offers = subject.marketplace.search_offers(RTX_4090, disk_gb=40.0, limit=64)
    assert offers
    assert {offer.gpu_type for offer in offers} == {"1x RTX 4090"}
    assert [o.usd_per_hour for o in offers] == sorted(o.usd_per_hour for o in offers)
    assert all(o.usd_per_hour > o.storage_usd_per_hour > 0 for o in offers)
    assert all(o.gpu_ram_gb == 24 and o.direct_port_count > 0 and o.verified for o in offers)


def test_a_search_gives_no_more_than_asked_for(subject: Subject) -> None:
    assert len(subject.marketplace.search_offers({}, disk_gb=40.0, limit=3)) == 3


def test_a_larger_disk_costs_more(subject: Subject) -> None:
    small, large = (
        subject.marketplace.search_offers(RTX_4090, disk_gb=disk_gb, limit=64)
        for disk_gb in (10.0, 500.0)
    )
    prices = {offer.offer_id: offer.usd_per_hour for offer in small}
    assert all(offer.usd_per_hour > prices[offer.offer_id] for offer in large)


def test_a_search_that_makes_no_sense_is_refused(subject: Subject) -> None:
    with pytest.raises(RefusedError, match="invalid_args"):
        subject.marketplace.search_offers({"gpu_ram": {"near": 1}}, disk_gb=40.0, limit=1)


def test_what_is_rented_is_listed_with_its_label_and_becomes_reachable(subject: Subject) -> None:
    instance_id = subject.rent()
    creating = subject.marketplace.list_instances()
    assert creating.is_complete
    assert [(i.instance_id, i.actual_status) for i in creating.instances] == [(instance_id, None)]
    subject.later()
    (instance,) = subject.marketplace.list_instances().instances
    assert (instance.label, instance.actual_status) == ("chat · 0123", "running")
    assert (instance.intended_status, instance.cur_state) == ("running", "running")
    assert instance.public_ipaddr == instance.public_ipaddr.strip() != ""
    assert instance.ports["3000/tcp"] > 0
    assert instance.template_hash == subject.template_hash
    assert instance.usd_per_hour > 0
    assert (instance.ends_at or 0) > subject.clock.now()


def test_no_secret_of_the_environment_comes_back(subject: Subject) -> None:
    instance_id = subject.rent()
    listing = subject.marketplace.list_instances()
    found = subject.marketplace.find_instance(instance_id)
    assert SECRET in str(subject.market.instances[instance_id].row())
    assert SECRET not in repr(listing) + repr(found)


def test_the_request_wins_over_the_template(subject: Subject) -> None:
    offer = subject.marketplace.search_offers({}, disk_gb=40.0, limit=1)[0]
    request = CreateRequest(
        offer_id=offer.offer_id,
        label="x",
        template_hash=subject.template_hash,
        disk_gb=40.0,
        env={"A": "mine"},
        image="other:2",
        onstart="",
        extra={"env": {"A": "not mine"}, "cancel_unavail": False},
    )
    order = subject.market.instances[subject.marketplace.create_instance(request)].order
    assert order.env == {"A": "mine", "WORDS": "two words", "-p 3000:3000": "1"}
    assert (order.image, order.disk_gb) == ("other:2", 40.0)


def test_an_offer_can_be_rented_once(subject: Subject) -> None:
    offer = subject.marketplace.search_offers({}, disk_gb=40.0, limit=1)[0]
    subject.marketplace.create_instance(subject.request(offer.offer_id))
    with pytest.raises(OfferGoneError):
        subject.marketplace.create_instance(subject.request(offer.offer_id))
    with pytest.raises(OfferGoneError):
        subject.marketplace.create_instance(subject.request(99))
    assert len(subject.market.instances) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"label": ""},
        {"label": "x" * 257},
        {"label": "a\nb"},
        {"disk_gb": 1.0},
        {"env": {"A B": "c"}},
        {"env": {"A": "x\ny"}},
        {"env": {"A": "x" * 257}},
        {"template_hash": "../x"},
        {"onstart": "x" * 4_097},
    ],
)
def test_a_create_that_vast_would_misread_is_never_sent(
    subject: Subject, changes: dict[str, object]
) -> None:
    fields = {"offer_id": 5_000_000, "label": "x", "template_hash": None, "disk_gb": 40.0}
    request = CreateRequest(**{**fields, "env": {}, **changes})  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="invalid_args"):
        subject.marketplace.create_instance(request)
    assert subject.market.calls == []


def test_an_unknown_template_is_a_refusal_not_a_race(subject: Subject) -> None:
    offer = subject.marketplace.search_offers({}, disk_gb=40.0, limit=1)[0]
    request = CreateRequest(
        offer_id=offer.offer_id, label="x", template_hash="abc", disk_gb=40.0, env={}
    )
    with pytest.raises(RefusedError, match="invalid_args"):
        subject.marketplace.create_instance(request)


def test_the_offer_was_just_taken(subject: Subject) -> None:
    subject.fault("offer-gone", times=1)
    with pytest.raises(OfferGoneError):
        subject.rent()
    assert subject.rent() in subject.market.instances


@pytest.mark.parametrize(
    ("fault", "n_rented"),
    [("create-timeout-rented", 1), ("create-timeout-not-rented", 0), ("market-down", 0)],
)
def test_a_create_whose_answer_is_lost_is_ambiguous(
    subject: Subject, fault: str, n_rented: int
) -> None:
    offer = subject.marketplace.search_offers({}, disk_gb=40.0, limit=1)[0]
    subject.fault(fault)
    with pytest.raises(AmbiguousCreateError) as caught:
        subject.marketplace.create_instance(subject.request(offer.offer_id))
    assert caught.value.contract_id is None
    assert len(subject.market.instances) == n_rented
    creates = [call for call in subject.market.calls if call.verb is Verb.CREATE]
    assert len(creates) == 1, "creates are never repeated"


def test_a_refused_create_with_a_contract_names_it(subject: Subject) -> None:
    subject.fault("success-false-contract")
    with pytest.raises(AmbiguousCreateError) as caught:
        subject.rent()
    (instance,) = subject.marketplace.list_instances().instances
    assert caught.value.contract_id == instance.instance_id
    assert (instance.intended_status, instance.cur_state) == ("stopped", "stopped")


def test_without_credit_nothing_is_rented_or_started(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    subject.fault("credit-zero")
    with pytest.raises(RefusedError, match="insufficient_credit"):
        subject.rent(place=1)
    with pytest.raises(RefusedError, match="missing_billing"):
        subject.marketplace.start_instance(instance_id)
    (instance,) = subject.marketplace.list_instances().instances
    assert instance.intended_status == "stopped"
    assert subject.marketplace.account_credit_usd() == 0


def test_credit_shrinks_by_the_bill(subject: Subject) -> None:
    subject.rent()
    before = subject.marketplace.account_credit_usd()
    subject.later(3_600.0)
    spent = subject.market.bill(subject.clock.now()).total_usd
    assert 0 < spent == pytest.approx(before - subject.marketplace.account_credit_usd(), rel=1e-3)


def test_a_listing_of_many_pages_is_complete(subject: Subject) -> None:
    ids = [subject.rent(label=f"w{place}") for place in range(55)]
    listing = subject.marketplace.list_instances()
    assert listing.is_complete, listing.problem
    assert [i.instance_id for i in listing.instances] == ids
    assert listing.started_at <= listing.ended_at


def test_an_account_without_instances_has_a_complete_empty_listing(subject: Subject) -> None:
    listing = subject.marketplace.list_instances()
    assert listing.is_complete
    assert listing.instances == ()


@pytest.mark.parametrize("n_instances", [0, 1, 25, 26, 51])
@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("deprecated-list", "deprecated_endpoint"),
        ("html-list", "HTTP 200"),
        ("page-missing", "malformed"),
        ("token-loop", "token_loop|duplicate_id"),
        ("market-down", "HTTP 503"),
        ("429-storm", "too frequent"),
    ],
)
def test_a_doubtful_listing_says_so(
    subject: Subject, fault: str, problem: str, n_instances: int
) -> None:
    for place in range(n_instances):
        subject.rent(label=f"w{place}")
    subject.fault(fault)
    listing = subject.marketplace.list_instances()
    assert not listing.is_complete
    assert any(kind in listing.problem for kind in problem.split("|"))
    subject.market.switch_off(fault, subject.clock.now())
    assert len(subject.marketplace.list_instances().instances) == n_instances


@pytest.mark.parametrize("n_instances", [1, 25, 30])
def test_an_id_that_comes_twice_is_doubt(subject: Subject, n_instances: int) -> None:
    for place in range(n_instances):
        subject.rent(label=f"w{place}")
    subject.fault("duplicate-ids")
    listing = subject.marketplace.list_instances()
    assert not listing.is_complete
    assert "duplicate_id" in listing.problem


def test_a_lying_empty_listing_is_contradicted_by_the_instance_itself(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.fault("empty-list")
    listing = subject.marketplace.list_instances()
    assert (listing.is_complete, listing.instances) == (True, ())
    found = subject.marketplace.find_instance(instance_id)
    assert found is not None
    assert found.instance_id == instance_id


def test_a_listing_may_lag_behind(subject: Subject) -> None:
    """What was just rented is not there yet, and what was just destroyed still is."""
    old = subject.rent()
    subject.later(100.0)
    subject.fault("listing-lags", lag_s=45.0)
    new = subject.rent(place=1)
    subject.marketplace.destroy_instances([old])
    subject.later(10.0)
    assert [i.instance_id for i in subject.marketplace.list_instances().instances] == [old]
    subject.later(50.0)
    assert [i.instance_id for i in subject.marketplace.list_instances().instances] == [new]


def test_an_instance_that_does_not_exist_is_found_as_none(subject: Subject) -> None:
    assert subject.marketplace.find_instance(123) is None


def test_stop_and_start_keep_the_contract(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    subject.marketplace.stop_instance(instance_id)
    subject.later()
    (stopped,) = subject.marketplace.list_instances().instances
    assert (stopped.intended_status, stopped.actual_status) == ("stopped", "exited")
    assert (stopped.cur_state, stopped.ports) == ("stopped", {})
    subject.marketplace.start_instance(instance_id)
    subject.later()
    (running,) = subject.marketplace.list_instances().instances
    assert (running.instance_id, running.actual_status) == (instance_id, "running")


def test_a_start_whose_gpu_is_let_is_refused_and_waits(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    subject.marketplace.stop_instance(instance_id)
    subject.later()
    subject.fault("start-refused", times=1)
    with pytest.raises(RefusedError) as caught:
        subject.marketplace.start_instance(instance_id)
    assert caught.value.code == "resources_unavailable"
    (waiting,) = subject.marketplace.list_instances().instances
    assert (waiting.intended_status, waiting.actual_status) == ("running", "exited")
    subject.later(1e6)
    (running,) = subject.marketplace.list_instances().instances
    assert running.actual_status == "running", "it starts by itself once the GPU is free"


def test_a_start_may_be_accepted_and_never_happen(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    subject.marketplace.stop_instance(instance_id)
    subject.later()
    subject.fault("start-stuck")
    subject.marketplace.start_instance(instance_id)
    subject.later(1e5)
    (stuck,) = subject.marketplace.list_instances().instances
    assert (stuck.intended_status, stuck.actual_status) == ("running", "exited")


def test_reboot_brings_the_container_back(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    subject.marketplace.reboot_instance(instance_id)
    assert subject.marketplace.list_instances().instances[0].actual_status == "rebooting"
    subject.later()
    assert subject.marketplace.list_instances().instances[0].actual_status == "running"


def test_verbs_on_an_instance_that_does_not_exist_are_refused(subject: Subject) -> None:
    market = subject.marketplace
    for act in (market.start_instance, market.stop_instance, market.reboot_instance):
        with pytest.raises(RefusedError, match="no_such_instance"):
            act(123)
    with pytest.raises(RefusedError, match="no_such_instance"):
        market.instance_logs(123)


def test_what_is_destroyed_disappears_and_costs_nothing_more(subject: Subject) -> None:
    ids = [subject.rent(label=f"w{place}") for place in range(3)]
    subject.later()
    assert subject.marketplace.destroy_instances(ids[:2]) == {ids[0]: "", ids[1]: ""}
    subject.later()
    assert [i.instance_id for i in subject.marketplace.list_instances().instances] == ids[2:]
    assert subject.marketplace.destroy_instances(ids[2:]) == {ids[2]: ""}
    subject.later()
    spent = subject.market.bill(subject.clock.now()).total_usd
    subject.later(1e6)
    assert subject.market.bill(subject.clock.now()).total_usd == spent


def test_destroying_what_does_not_exist_says_so(subject: Subject) -> None:
    for ids in ([123], [123, 124]):
        outcomes = subject.marketplace.destroy_instances(ids)
        assert list(outcomes) == ids
        assert all(why.startswith("no_such_instance") for why in outcomes.values())


def test_destroying_nothing_calls_nobody(subject: Subject) -> None:
    assert subject.marketplace.destroy_instances([]) == {}
    assert subject.market.calls == []


def test_a_bulk_destroy_may_be_partial(subject: Subject) -> None:
    ids = [subject.rent(label=f"w{place}") for place in range(4)]
    subject.fault("partial-bulk")
    outcomes = subject.marketplace.destroy_instances(ids)
    done = [i for i, why in outcomes.items() if not why]
    assert 0 < len(done) < len(ids)
    subject.later()
    left = {i.instance_id for i in subject.marketplace.list_instances().instances}
    assert left == set(ids) - set(done)


def test_many_are_destroyed_in_batches_that_vast_takes(subject: Subject) -> None:
    outcomes = subject.marketplace.destroy_instances(list(range(1, 151)))
    assert len(outcomes) == 150
    destroys = [call for call in subject.market.calls if call.verb is Verb.DESTROY]
    assert [len(call.detail.split()) for call in destroys] == [64, 64, 22]


def test_a_destroy_that_fails_leaves_the_instance(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.fault("destroy-fails")
    with pytest.raises(MarketplaceUnavailableError):
        subject.marketplace.destroy_instances([instance_id])
    subject.market.switch_off("destroy-fails", subject.clock.now())
    subject.fault("destroy-404")
    outcomes = subject.marketplace.destroy_instances([instance_id])
    assert outcomes[instance_id].startswith("no_such_instance")
    subject.later()
    assert len(subject.marketplace.list_instances().instances) == 1, "a 404 is not an absence"


def test_a_dead_host_is_offline(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    subject.fault("host-dies", instance_id=instance_id)
    (offline,) = subject.marketplace.list_instances().instances
    assert (offline.actual_status, offline.intended_status) == ("offline", "running")
    subject.market.switch_off("host-dies", subject.clock.now())
    subject.later()
    assert subject.marketplace.list_instances().instances[0].actual_status == "running"


def test_interrupted_instances_are_stopped_though_nobody_asked(subject: Subject) -> None:
    ids = [subject.rent(label=f"w{place}") for place in range(2)]
    subject.later()
    subject.fault("interrupted")
    listing = subject.marketplace.list_instances()
    assert [i.instance_id for i in listing.instances] == ids
    assert {(i.intended_status, i.actual_status) for i in listing.instances} == {
        ("stopped", "exited")
    }


@pytest.mark.parametrize(("fault", "status"), [("load-stuck", "loading"), ("boot-error", "exited")])
def test_a_load_that_goes_wrong(subject: Subject, fault: str, status: str) -> None:
    subject.fault(fault)
    subject.rent()
    subject.later(1e4)
    (instance,) = subject.marketplace.list_instances().instances
    assert (instance.actual_status, instance.intended_status) == (status, "running")
    assert instance.status_msg


def test_a_price_increase_moves_offers_and_ends_contracts(subject: Subject) -> None:
    instance_id = subject.rent()
    before = subject.marketplace.search_offers(RTX_4090, disk_gb=10.0, limit=1)[0].usd_per_hour
    price = subject.marketplace.list_instances().instances[0].usd_per_hour
    subject.fault("price-increase", factor=2.0, notice_s=600.0)
    after = subject.marketplace.search_offers(RTX_4090, disk_gb=10.0, limit=1)[0].usd_per_hour
    assert after > 1.9 * before
    found = subject.marketplace.find_instance(instance_id)
    assert found is not None
    assert found.usd_per_hour == price, "what was agreed stays"
    assert found.ends_at == pytest.approx(subject.clock.now() + 600.0, abs=5.0)
    subject.later(601.0)
    assert subject.marketplace.list_instances().instances[0].actual_status == "exited"


def test_a_storm_of_429_names_a_time(subject: Subject) -> None:
    subject.fault("429-storm")
    with pytest.raises(RateLimitedError) as caught:
        subject.marketplace.create_instance(subject.request(5_000_000))
    assert caught.value.retry_after_s >= 4.5
    with pytest.raises(RateLimitedError):
        subject.marketplace.stop_instance(1)


def test_a_market_that_is_down_says_nothing(subject: Subject) -> None:
    subject.fault("market-down")
    market = subject.marketplace
    for act in (market.start_instance, market.find_instance, market.reboot_instance):
        with pytest.raises(MarketplaceUnavailableError):
            act(1)
    with pytest.raises(MarketplaceUnavailableError):
        market.account_credit_usd()


def test_a_template_is_found_by_its_hash(subject: Subject) -> None:
    template = subject.marketplace.find_template(subject.template_hash)
    assert template is not None
    assert (template.name, template.image, template.disk_gb) == ("hello", "example/hello:1", 16.0)
    assert template.extra_filters == {"gpu_ram": {"gte": 23_000.0}}
    assert "-p 3000:3000" in template.env
    assert subject.marketplace.find_template("f" * 32) is None
    with pytest.raises(RefusedError, match="invalid_args"):
        subject.marketplace.find_template("'; drop")


def test_logs_of_an_instance_are_text(subject: Subject) -> None:
    instance_id = subject.rent()
    assert isinstance(subject.marketplace.instance_logs(instance_id), str)
