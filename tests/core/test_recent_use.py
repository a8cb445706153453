"""What keys were granted lately, against their shares; and who yields to whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.admission import AHEAD_BIND_S, HELD_BIND_SHARE, Bound, bound_of
from chalicelib.core.routing.recent_use import FORGOTTEN_S, MAX_KEYS, USE_SPAN_S, RecentUse

grants = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 100)), min_size=1, max_size=30)
weights = st.fixed_dictionaries({key: st.floats(0.1, 10) for key in "abc"})


def used(*granted: tuple[str, float], asked_at: float = 0.0, **weight: float) -> RecentUse:
    use = RecentUse()
    for key_id in weight:
        use.asked(key_id, weight[key_id], asked_at)
    for key_id, cost in granted:
        use.granted(key_id, cost)
    return use


@given(grants, weights)
def test_multiples_of_shares_average_to_one(
    granted: list[tuple[str, float]], weight: dict[str, float]
) -> None:
    use = used(*granted, **weight)
    total = sum(weight.values())
    mean = sum(use.times_its_share(key) * weight[key] / total for key in weight)
    assert mean == pytest.approx(1.0)


@given(st.lists(st.floats(0.1, 100), max_size=5), st.floats(0.1, 10))
def test_a_key_alone_has_just_its_share(costs: list[float], weight: float) -> None:
    assert used(*(("a", cost) for cost in costs), a=weight).times_its_share("a") == 1.0


def test_a_weight_says_what_is_fair() -> None:
    use = used(("a", 30.0), ("b", 10.0), a=3.0, b=1.0)
    assert use.times_its_share("a") == use.times_its_share("b") == 1.0


def test_grants_fade_and_keys_that_are_gone_are_forgotten() -> None:
    use = used(("a", 100.0), ("b", 100.0), a=1.0, b=1.0)
    use.asked("b", 1.0, USE_SPAN_S)
    use.granted("b", 100.0)
    assert use.times_its_share("b") == pytest.approx(2 * 136.8 / 173.6, rel=0.01)
    assert use.mean_cost == pytest.approx(100.0)
    use.asked("b", 1.0, FORGOTTEN_S + 1)
    assert list(use.by_key) == ["b"]
    assert use.times_its_share("b") == 1.0


def test_the_memory_is_bounded() -> None:
    use = RecentUse()
    for i in range(MAX_KEYS + 1):
        use.asked(str(i), 1.0, 0.0)
    assert len(use.by_key) <= MAX_KEYS
    assert use.weight == len(use.by_key)


@given(st.floats(0, 30), st.floats(0, 10), st.booleans(), st.floats(0, 10))
def test_who_has_no_more_than_its_share_loses_nothing_and_others_are_bound_later(
    within_s: float, times: float, is_held: bool, service_s: float
) -> None:
    bound = bound_of(within_s, times_its_share=times, is_held=is_held, service_s=service_s)
    assert bound.within_s <= within_s
    if times <= 1:
        assert bound == Bound(within_s)


def test_a_flood_is_bound_as_it_is_served_and_strictly() -> None:
    flood = bound_of(2.0, times_its_share=1.5, is_held=True, service_s=0.4)
    assert flood == Bound(HELD_BIND_SHARE * 0.4, is_strict=True)
    long = bound_of(2.0, times_its_share=1.5, is_held=True, service_s=60.0)
    assert long == Bound(AHEAD_BIND_S, is_strict=True)
    assert bound_of(2.0, times_its_share=1.5, is_held=False, service_s=0.4) == Bound(AHEAD_BIND_S)
