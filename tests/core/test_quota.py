"""Quotas of a key: rate, load and requests in flight."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.quota import LOAD_BURST_S, Quota, QuotaUse


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


@given(st.lists(st.floats(min_value=0, max_value=1e6)).map(sorted))
def test_without_limits_nothing_is_refused(arrivals: list[float]) -> None:
    assert Quota().is_unlimited
    assert grants(Quota(), arrivals) == len(arrivals)
