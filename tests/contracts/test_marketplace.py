"""What every marketplace must do: the fake in process, the real adapter over real HTTP.

Both stand on the same pretend market in virtual time, so every test also says what is true there.
"""

from __future__ import annotations

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.marketplace import (
    CreateRequest,
    OfferGoneError,
    RefusedError,
)
from tests.contracts.marketplace_subject import RTX_4090, SECRET, Subject


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
    assert (instance.label, instance.actual_status) == ("chat - 0123", "running")
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
    assert not subject.market.calls


def test_an_unknown_template_is_a_refusal_not_a_race(subject: Subject) -> None:
    offer = subject.marketplace.search_offers({}, disk_gb=40.0, limit=1)[0]
    request = CreateRequest(
        offer_id=offer.offer_id, label="x", template_hash="abc", disk_gb=40.0, env={}
    )
    with pytest.raises(RefusedError, match="invalid_args"):
        subject.marketplace.create_instance(request)


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
    assert not subject.market.calls


def test_many_are_destroyed_in_batches_that_vast_takes(subject: Subject) -> None:
    outcomes = subject.marketplace.destroy_instances(list(range(1, 151)))
    assert len(outcomes) == 150
    destroys = [call for call in subject.market.calls if call.verb is Verb.DESTROY]
    assert [len(call.detail.split()) for call in destroys] == [64, 64, 22]


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
