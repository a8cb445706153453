"""Quotas of a key: rate, load and requests in flight."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.quota import LOAD_BURST_S, Quota, QuotaUse, RouterShare


def grants(quota: Quota, arrivals: list[float], cost: float = 1.0, finish_s: float = 5.0) -> int:
    use, n = QuotaUse(), 0
    for now in arrivals:
        if use.refusal(quota, now) is None:
            use.granted(quota, cost, finish_s, now)
            n += 1
    return n


def test_a_rate_is_a_rate() -> None:
    flood = [i / 100 for i in range(1_000)]
    assert 49 <= grants(Quota(max_requests_per_s=5), flood) <= 55
    assert grants(Quota(max_requests_per_s=0.1), flood) == 1


def test_load_may_burst_and_then_keeps_its_rate() -> None:
    flood = [i / 100 for i in range(10_000)]
    granted = grants(Quota(max_load_per_s=10), flood, cost=1.0)
    assert 10 * 100 <= granted <= 10 * (100 + LOAD_BURST_S) + 1


def test_so_many_at_once() -> None:
    assert grants(Quota(max_concurrent=3), [0.0] * 10) == 3
    assert grants(Quota(max_concurrent=3), [0.0] * 3 + [5.0] * 3, finish_s=5.0) == 6


@pytest.mark.parametrize(
    ("quota", "per_s"),
    [
        (Quota(max_requests_per_s=40.0), 40.0),
        (Quota(max_load_per_s=80.0), 40.0),
        (Quota(max_concurrent=100), 20.0),
    ],
)
def test_all_routers_together_keep_a_quota(quota: Quota, per_s: float) -> None:
    """Eight routers, one of them started late, 200 requests of load 2 and 5 s each second."""
    dice = random.Random(1)
    uses = [QuotaUse() for _ in range(8)]
    shares = [RouterShare(began_at=0.0) for _ in range(8)]
    granted_at: deque[float] = deque()
    n_granted, seen_per_s = 0, 0.0
    for i in range(200 * 120):
        now = i / 200
        if i % 200 == 0:  # a view tells what all routers granted over the last 20 s
            while granted_at and granted_at[0] < now - 20:
                granted_at.popleft()
            seen_per_s = len(granted_at) / 20
        router = dice.randrange(8 if now > 60 else 7)
        if uses[router].refusal(quota, now, shares[router].part(seen_per_s, now)) is None:
            uses[router].granted(quota, 2.0, 5.0, now)
            shares[router].granted(now)
            granted_at.append(now)
            n_granted += now >= 80
    assert 0.8 * per_s <= n_granted / 40 <= 1.35 * per_s


def test_the_only_router_has_the_whole_quota() -> None:
    share = RouterShare(began_at=0.0)
    assert share.part(0.0, 0.0) == 1.0
    for i in range(600):
        share.granted(i / 10)
    assert share.part(10.0, 60.0) == pytest.approx(0.95, abs=0.05)


@given(st.lists(st.floats(min_value=0, max_value=1e6)).map(sorted))
def test_without_limits_nothing_is_refused(arrivals: list[float]) -> None:
    assert Quota().is_unlimited
    assert grants(Quota(), arrivals) == len(arrivals)
