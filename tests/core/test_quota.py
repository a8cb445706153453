"""Quotas of a key: rate, load and requests in flight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.quota import (
    END_PARTS,
    LOAD_BURST_S,
    KeyBuckets,
    Quota,
    Taken,
    end_of,
)


def grants(quota: Quota, arrivals: list[float], cost: float = 1.0, held_s: float = 5.0) -> int:
    taken, n = Taken(), 0
    for now in arrivals:
        taken = taken.drained(quota, now)
        if taken.refusal(quota, cost) is None:
            taken = taken.plus(quota, cost, end_of(now, held_s))
            n += 1
    return n


def test_a_rate_is_a_rate() -> None:
    flood = [i / 100 for i in range(1_000)]
    assert 49 <= grants(Quota(max_requests_per_s=5), flood) <= 55
    assert grants(Quota(max_requests_per_s=0.1), flood) == 1


@pytest.mark.parametrize("cost", [0.1, 1.0, 30.0, 100.0])
def test_load_may_burst_and_then_keeps_its_rate(cost: float) -> None:
    flood = [i / 100 for i in range(10_000)]
    granted = grants(Quota(max_load_per_s=10), flood, cost=cost)
    assert 10 * 100 <= granted * cost <= 10 * (100 + LOAD_BURST_S)


def test_so_many_at_once() -> None:
    assert grants(Quota(max_concurrent=3), [0.0] * 10) == 3
    assert grants(Quota(max_concurrent=3), [0.0] * 3 + [5.0] * 3, held_s=5.0) == 6


@pytest.mark.parametrize("cost", [100.0001, 1e3, 1e9])
def test_a_request_larger_than_its_bucket_can_never_pass(cost: float) -> None:
    """The first one of cost 1e9 passed a quota of 10 load/s."""
    quota = Quota(max_load_per_s=10)
    assert "max_load_per_s 10 holds 100 at once" in (quota.oversize(cost) or "")
    assert Taken().refusal(quota, cost) is not None
    assert quota.oversize(100.0) is None
    assert Quota(max_requests_per_s=0.001, max_concurrent=1).oversize(cost) is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30), st.floats(0, 60)), max_size=60),
    st.floats(0.001, 20),
    st.floats(0.1, 50),
    st.integers(1, 5),
)
def test_no_order_of_requests_gets_past_any_limit(
    asked: list[tuple[float, float, float]], rate: float, load_rate: float, at_once: int
) -> None:
    """Moments go back as well: routers' clocks differ."""
    quota = Quota(max_requests_per_s=rate, max_load_per_s=load_rate, max_concurrent=at_once)
    taken, passed = Taken(), []
    for now, cost, held_s in asked:
        taken = taken.drained(quota, now)
        if taken.refusal(quota, cost) is None:
            taken = taken.plus(quota, cost, end_of(now, held_s))
            passed.append((now, cost, now + held_s))
    span_s = max((now for now, *_ in asked), default=0.0)
    assert len(passed) <= quota.request_bucket + rate * span_s + 1e-6
    assert sum(cost for _, cost, _ in passed) <= quota.load_bucket + load_rate * span_s + 1e-6
    if [now for now, *_ in asked] == sorted(now for now, *_ in asked):
        for now, *_ in passed:
            assert sum(began <= now < until for began, _, until in passed) <= at_once


@given(st.floats(0, 2e9), st.floats(0, 1e5))
def test_an_end_is_rounded_up_by_little(now: float, held_s: float) -> None:
    assert 0 <= end_of(now, held_s) - (now + held_s) <= 2 * max(held_s, 1.0) / END_PARTS


def test_what_came_to_nothing_is_given_back() -> None:
    quota = Quota(max_requests_per_s=1, max_load_per_s=10, max_concurrent=1)
    taken = Taken(counted_at=5.0).plus(quota, 40, 9.0)
    assert taken.refusal(quota, 1) is not None
    assert taken.minus(quota, 40, 9.0) == Taken(counted_at=5.0)


def test_buckets_say_when_they_are_empty() -> None:
    quota = Quota(max_requests_per_s=0.001)
    buckets = KeyBuckets(key_id="k", granted=Taken(counted_at=5.0).plus(quota, 1, 9.0))
    assert buckets.empty_in_s(quota) == pytest.approx(1_000)


@given(st.lists(st.floats(min_value=0, max_value=1e6)).map(sorted))
def test_without_limits_nothing_is_refused(arrivals: list[float]) -> None:
    assert Quota().is_unlimited
    assert grants(Quota(), arrivals) == len(arrivals)
