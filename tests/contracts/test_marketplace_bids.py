"""Interruptible machines, as every marketplace must rent, take and give them back.

What a listing shows is recorded: tests/evidence/vast/bid.json.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from chalicelib.core.model.market import InstanceRecord, Offer
from chalicelib.ports.marketplace import OfferGoneError, RefusedError
from tests.contracts.marketplace_subject import Subject


def bids(subject: Subject) -> list[Offer]:
    return list(subject.marketplace.search_offers({}, disk_gb=40.0, limit=200, is_bid=True))


def rent_at(subject: Subject, offer: Offer, margin: float = 1.0) -> int:
    request = subject.request(offer.offer_id)
    bid = offer.bid_usd_per_hour * margin
    return subject.marketplace.create_instance(replace(request, bid_usd_per_hour=bid))


def rival_bids(subject: Subject, offer: Offer, times: float) -> None:
    """Somebody else bids for the machine, or leaves (0)."""
    subject.market.offers.bids.rivals[offer.machine_id] = offer.bid_usd_per_hour * times


def only(subject: Subject) -> InstanceRecord:
    (record,) = subject.marketplace.list_instances().instances
    return record


def test_an_interruptible_offer_costs_its_least_bid_and_the_disk(subject: Subject) -> None:
    search = subject.marketplace.search_offers
    on_demand = {offer.offer_id: offer for offer in search({}, disk_gb=40.0, limit=200)}
    found = bids(subject)
    assert found
    assert all(offer.is_bid for offer in found)
    assert not any(offer.is_bid for offer in on_demand.values())
    for offer in found:
        assert offer.usd_per_hour == pytest.approx(
            offer.bid_usd_per_hour + offer.storage_usd_per_hour
        )
        assert 0 < offer.usd_per_hour < 0.6 * on_demand[offer.offer_id].usd_per_hour


def test_what_is_rented_at_a_bid_says_so_and_is_billed_the_bid(subject: Subject) -> None:
    offer = bids(subject)[0]
    instance_id = rent_at(subject, offer, 1.25)
    subject.later()
    record = only(subject)
    assert record.is_bid
    assert record.bid_usd_per_hour == pytest.approx(1.25 * offer.bid_usd_per_hour, abs=0.001)
    assert record.usd_per_hour == pytest.approx(
        record.bid_usd_per_hour + record.storage_usd_per_hour
    )
    before = subject.market.bill(subject.clock.now()).by_instance[instance_id].gpu_usd
    subject.later(3600.0)
    after = subject.market.bill(subject.clock.now()).by_instance[instance_id].gpu_usd
    assert after - before == pytest.approx(record.bid_usd_per_hour)


def test_a_machine_on_demand_is_no_bid(subject: Subject) -> None:
    subject.rent()
    assert (only(subject).is_bid, only(subject).bid_usd_per_hour) == (False, 0.0)


def test_who_is_outbid_is_stopped_at_once_and_pays_the_disk_alone(subject: Subject) -> None:
    offer = bids(subject)[0]
    instance_id = rent_at(subject, offer)
    subject.later()
    rival_bids(subject, offer, 1.5)
    subject.later(1.0)
    taken = only(subject)
    assert (taken.intended_status, taken.actual_status) == ("stopped", "running")
    subject.later(20.0)
    assert (only(subject).intended_status, only(subject).actual_status) == ("stopped", "exited")
    before = subject.market.bill(subject.clock.now()).by_instance[instance_id]
    subject.later(3600.0)
    after = subject.market.bill(subject.clock.now()).by_instance[instance_id]
    assert after.gpu_usd == before.gpu_usd
    assert after.storage_usd > before.storage_usd


def test_it_comes_back_by_itself_once_the_other_is_gone(subject: Subject) -> None:
    offer = bids(subject)[0]
    instance_id = rent_at(subject, offer)
    subject.later()
    rival_bids(subject, offer, 1.5)
    subject.later(60.0)
    rival_bids(subject, offer, 0.0)
    subject.later(1.0)
    assert only(subject).intended_status == "running"
    subject.later()
    record = only(subject)
    assert (record.instance_id, record.actual_status) == (instance_id, "running")


def test_a_higher_bid_alone_brings_nothing_back_but_a_start_does(subject: Subject) -> None:
    offer = bids(subject)[0]
    instance_id = rent_at(subject, offer)
    subject.later()
    rival_bids(subject, offer, 1.5)
    subject.later(60.0)
    subject.marketplace.change_bid(instance_id, 1.6 * offer.bid_usd_per_hour)
    subject.later(50.0)
    assert only(subject).intended_status == "stopped"
    assert only(subject).bid_usd_per_hour == pytest.approx(1.6 * offer.bid_usd_per_hour, abs=0.001)
    subject.marketplace.start_instance(instance_id)
    subject.later()
    assert only(subject).actual_status == "running"


def test_a_start_that_a_higher_bid_stands_against_is_refused(subject: Subject) -> None:
    offer = bids(subject)[0]
    instance_id = rent_at(subject, offer)
    subject.later()
    rival_bids(subject, offer, 1.5)
    subject.later(60.0)
    with pytest.raises(RefusedError):
        subject.marketplace.start_instance(instance_id)
    assert only(subject).intended_status == "stopped"


def test_who_rents_on_demand_wins_over_every_bid(subject: Subject) -> None:
    offer = bids(subject)[0]
    rent_at(subject, offer, 5.0)
    subject.later()
    subject.market.offers.bids.floors[offer.geolocation] = [(subject.clock.now(), math.inf)]
    subject.later(1.0)
    subject.later(20.0)
    assert only(subject).actual_status == "exited"
    assert offer.machine_id not in {other.machine_id for other in bids(subject)}


def test_a_bid_that_does_not_win_any_more_rents_nothing(subject: Subject) -> None:
    offer = bids(subject)[0]
    rival_bids(subject, offer, 1.5)
    with pytest.raises(OfferGoneError):
        rent_at(subject, offer)
    assert not subject.market.instances


@pytest.mark.parametrize("usd_per_hour", [0.0, 0.0005, 129.0, math.nan, math.inf])
def test_a_bid_out_of_bounds_is_never_sent(subject: Subject, usd_per_hour: float) -> None:
    offer = bids(subject)[0]
    n_calls = len(subject.market.calls)
    request = replace(subject.request(offer.offer_id), bid_usd_per_hour=usd_per_hour)
    with pytest.raises(RefusedError, match="bid"):
        subject.marketplace.create_instance(request)
    with pytest.raises(RefusedError, match="bid"):
        subject.marketplace.change_bid(7, usd_per_hour)
    assert len(subject.market.calls) == n_calls


def test_bids_are_for_interruptible_machines_that_exist(subject: Subject) -> None:
    instance_id = subject.rent()
    subject.later()
    with pytest.raises(RefusedError, match="invalid_args"):
        subject.marketplace.change_bid(instance_id, 1.0)
    with pytest.raises(RefusedError, match="no_such_instance"):
        subject.marketplace.change_bid(123, 1.0)


def test_the_named_fault_outbids_until_it_is_switched_off(subject: Subject) -> None:
    rent_at(subject, bids(subject)[0])
    subject.rent(place=3)
    subject.later()
    subject.fault("outbid")
    subject.later(20.0)
    states = [r.actual_status for r in subject.marketplace.list_instances().instances]
    assert states == ["exited", "running"]
    subject.market.switch_off("outbid", subject.clock.now())
    subject.later()
    states = [r.actual_status for r in subject.marketplace.list_instances().instances]
    assert states == ["running", "running"]
