"""What every marketplace must say when the market misbehaves by one of its named faults."""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import (
    AmbiguousCreateError,
    MarketplaceUnavailableError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
)
from tests.contracts.marketplace_subject import RTX_4090, Subject


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


def test_a_bulk_destroy_may_be_partial(subject: Subject) -> None:
    ids = [subject.rent(label=f"w{place}") for place in range(4)]
    subject.fault("partial-bulk")
    outcomes = subject.marketplace.destroy_instances(ids)
    done = [i for i, why in outcomes.items() if not why]
    assert 0 < len(done) < len(ids)
    subject.later()
    left = {i.instance_id for i in subject.marketplace.list_instances().instances}
    assert left == set(ids) - set(done)


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
