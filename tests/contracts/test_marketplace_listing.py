"""Listings, as every marketplace must give them: complete, or with the name of the doubt."""

from __future__ import annotations

import pytest

from tests.contracts.marketplace_subject import Subject


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
