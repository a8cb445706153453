"""Choosing a worker: least expected finish, exact weights, tiers, prices, own grants."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.routing.choice import Criteria
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.request_index import worker_slot
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable

NOW = 1_000.0
ONE_GROUP = (AutogroupFacts(autogroup_id=1),)


def worker(
    instance_id: int,
    perf: float = 100.0,
    *,
    wait_s: float = 0.0,
    usd: float = 0.5,
    autogroup: int = 0,
    headroom_s: float = 0.0,
) -> RoutableWorker:
    return RoutableWorker(
        instance_id=instance_id,
        autogroup_index=autogroup,
        perf=perf,
        usd_per_hour=usd,
        free_at=NOW + wait_s,
        granted_load=0.0,
        known_at=NOW,
        headroom_s=headroom_s,
    )


def wish(cost: float = 100.0, bound_s: float = 1e9, **values: object) -> Criteria:
    return Criteria(cost=cost, bound_s=bound_s, **{"dice": 0.0, **values})  # type: ignore[arg-type]


def chosen(table: RoutingTable, a_wish: Criteria) -> int | None:
    choice = table.choose(a_wish, NOW)
    return choice.worker.instance_id if choice else None


def test_the_least_expected_finish_wins_not_the_shortest_wait() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, 10.0), worker(2, 1_000.0, wait_s=1.0)])
    assert chosen(table, wish(100)) == 2
    assert chosen(table, wish(1)) == 1


def test_among_near_equals_the_better_price_per_perf_wins() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, usd=0.6), worker(2, usd=0.3), worker(3, usd=0.5)])
    assert chosen(table, wish()) == 2


def test_equals_at_one_price_are_drawn() -> None:
    table = RoutingTable(ONE_GROUP, [worker(i) for i in range(1, 5)])
    drawn = {chosen(table, wish(dice=i / 20)) for i in range(20)}
    assert drawn == {1, 2, 3, 4}


def test_a_worker_that_would_start_too_late_is_not_chosen() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, wait_s=3.0)])
    assert chosen(table, wish(bound_s=2.9)) is None
    assert chosen(table, wish(bound_s=3.1)) == 1


@given(st.floats(0, 5), st.floats(0, 5), st.floats(0, 5))
def test_a_strict_reservation_stands_only_while_it_starts_within_the_bound(
    wait_s: float, other_wait_s: float, bound_s: float
) -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, wait_s=wait_s), worker(2, wait_s=other_wait_s)])
    choice = table.choose(wish(bound_s=bound_s, is_strict=True), NOW)
    if choice is not None:
        granted_more_s = choice.bound / choice.worker.perf
        assert choice.wait_s + granted_more_s <= bound_s + 1e-9


def test_it_is_told_when_the_first_worker_will_be_free() -> None:
    workers = [worker(1, wait_s=3.0), worker(2, wait_s=2.0)]
    assert RoutingTable(ONE_GROUP, workers).next_free_s(NOW) == 2.0
    assert RoutingTable(ONE_GROUP, []).next_free_s(NOW) is None


def test_a_worker_with_free_slots_starts_at_once_though_it_is_busy() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, wait_s=20.0, headroom_s=25.0)])
    choice = table.choose(wish(bound_s=2.0), NOW)
    assert choice is not None
    assert choice.wait_s == 0


def test_the_worker_that_failed_is_avoided_even_if_it_is_the_only_one() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1), worker(2, wait_s=9.0)])
    assert chosen(table, wish(avoid_slot=worker_slot(1))) == 2
    alone = RoutingTable(ONE_GROUP, [worker(1)])
    assert chosen(alone, wish(avoid_slot=worker_slot(1))) is None


def test_own_grants_count_at_once() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, usd=0.1), worker(2)])
    first = table.choose(wish(), NOW)
    assert first is not None
    table.granted(first.worker, 100.0, 100.0, NOW)
    assert chosen(table, wish()) == 2


def test_a_refused_reservation_teaches_what_others_granted() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1, usd=0.1), worker(2)])
    first = table.choose(wish(), NOW)
    assert first is not None
    table.correct(first.worker, 500.0, NOW)
    assert first.worker.free_at == NOW + 5
    assert chosen(table, wish()) == 2


@pytest.mark.parametrize(
    ("waits_s", "slack_s"),
    [
        ((0.0, 0.0, 0.0, 0.0, 0.0, 9.0), 0.4),  # four others are as good
        ((0.0, 0.1, 0.2, 0.3, 1.0, 9.0), 1.4),  # the next four are up to a second worse
        ((0.0, 5.0, 6.0, 7.0, 8.0, 9.0), 4.0),  # nobody else is near, but there is an end to it
        ((3.0, 5.0, 6.0, 7.0, 8.0, 9.0), 1.0),  # that end comes sooner where the queues are long
        ((4.5, 5.0, 6.0, 7.0, 8.0, 9.0), 0.0),
        ((1.0,), 3.0),  # the only one
    ],
)
def test_others_may_add_as_much_as_makes_the_next_best_no_better(
    waits_s: tuple[float, ...], slack_s: float
) -> None:
    fleet = [worker(i, wait_s=wait_s) for i, wait_s in enumerate(waits_s, 1)]
    choice = RoutingTable(ONE_GROUP, fleet).choose(wish(), NOW)
    assert choice is not None
    assert choice.bound == pytest.approx(100.0 * slack_s)


def test_what_others_granted_is_reckoned_from_half_way_since_we_knew() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1)], built_at=NOW)
    known = table.find_slot(1)
    assert known is not None
    table.correct(known, 500.0, NOW + 2)
    assert known.free_at == NOW + 1 + 5


def test_a_router_that_misses_much_spreads_over_more_of_the_best() -> None:
    fleet = [worker(i, 100.0 + i) for i in range(1, 21)]
    table = RoutingTable(ONE_GROUP, fleet, built_at=NOW, grants_per_s=10.0)
    drawn = [{chosen_at(table, at, i / 50) for i in range(50)} for at in (NOW, NOW + 0.5)]
    assert [len(each) for each in drawn] == [3, 8]


def test_nobody_is_spread_to_workers_that_finish_much_later() -> None:
    fleet = [worker(1), worker(2, wait_s=2.9), worker(3, wait_s=3.1)]
    table = RoutingTable(ONE_GROUP, fleet, built_at=NOW - 1, grants_per_s=10.0)
    assert {chosen_at(table, NOW, i / 50) for i in range(50)} == {1, 2}


def chosen_at(table: RoutingTable, now: float, dice: float) -> int | None:
    choice = table.choose(wish(dice=dice), now)
    return choice.worker.instance_id if choice else None


def test_a_dropped_worker_is_not_chosen_again() -> None:
    table = RoutingTable(ONE_GROUP, [worker(1), worker(2)])
    known = table.find_slot(1)
    assert known is not None
    table.drop(known)
    assert (table.n_workers, chosen(table, wish()), table.find_slot(1)) == (1, 2, None)


def test_a_newer_table_keeps_the_grants_that_its_view_had_not_seen() -> None:
    older = RoutingTable(ONE_GROUP, [worker(1), worker(2)])
    known = older.find_slot(1)
    assert known is not None
    older.granted(known, 300.0, 300.0, NOW)
    newer = RoutingTable(ONE_GROUP, [worker(1), worker(2)])
    newer.carry_over(older, NOW)
    assert chosen(newer, wish()) == 2


TWO_WEIGHTS = (
    AutogroupFacts(autogroup_id=1, weight=90.0),
    AutogroupFacts(autogroup_id=2, weight=10.0),
)


@given(st.floats(min_value=0, max_value=0.999), st.integers(min_value=100, max_value=600))
def test_weights_hold_within_one_percent_from_any_start(phase: float, n: int) -> None:
    table = RoutingTable(TWO_WEIGHTS, [worker(1, 1.0), worker(2, 1e6, autogroup=1)], phase=phase)
    counts: Counter[int] = Counter()
    for _ in range(n):
        choice = table.choose(wish(0.0), NOW)
        assert choice is not None
        counts[choice.worker.instance_id] += 1
        table.granted(choice.worker, 0.0, 0.0, NOW)
    assert counts[2] / n == pytest.approx(0.10, abs=0.01 + 1 / n)


def test_an_autogroup_without_a_free_worker_passes_its_turn_on() -> None:
    table = RoutingTable(TWO_WEIGHTS, [worker(2, autogroup=1)])
    assert chosen(table, wish()) == 2


def test_a_repeat_stays_with_its_autogroup() -> None:
    table = RoutingTable(TWO_WEIGHTS, [worker(1), worker(2, autogroup=1)], phase=0.0)
    assert chosen(table, wish()) == 1
    assert chosen(table, wish(autogroup_index=1)) == 2


def test_equal_weights_are_one_pool() -> None:
    groups = (AutogroupFacts(autogroup_id=1), AutogroupFacts(autogroup_id=2))
    table = RoutingTable(groups, [worker(1, wait_s=5.0), worker(2, autogroup=1)])
    assert chosen(table, wish()) == 2


def test_a_tier_overflows_into_the_next_and_never_the_other_way() -> None:
    groups = (AutogroupFacts(autogroup_id=1, tier=1), AutogroupFacts(autogroup_id=2, tier=0))
    table = RoutingTable(groups, [worker(1), worker(2, autogroup=1, wait_s=3.0)])
    assert chosen(table, wish(bound_s=5.0)) == 2
    assert chosen(table, wish(bound_s=2.0)) == 1


@pytest.mark.parametrize(
    "facts",
    [
        AutogroupFacts(autogroup_id=1, is_active=False),
        AutogroupFacts(autogroup_id=1, weight=0.0),
    ],
)
def test_paused_and_weightless_autogroups_get_nothing(facts: AutogroupFacts) -> None:
    assert chosen(RoutingTable((facts,), [worker(1)]), wish()) is None


workers = st.lists(
    st.builds(
        worker,
        instance_id=st.integers(min_value=1, max_value=8_000),
        perf=st.floats(min_value=0.1, max_value=1e5),
        wait_s=st.floats(min_value=0, max_value=100),
        usd=st.floats(min_value=0, max_value=10),
    ),
    max_size=40,
    unique_by=lambda w: w.instance_id,
)


@given(workers, st.floats(min_value=0, max_value=1e6), st.floats(min_value=0, max_value=0.999))
def test_what_is_chosen_is_nearly_the_best_there_is(
    fleet: list[RoutableWorker], cost: float, dice: float
) -> None:
    choice = RoutingTable(ONE_GROUP, fleet).choose(wish(cost, dice=dice), NOW)
    if not fleet:
        assert choice is None
        return
    assert choice is not None
    best = min(w.free_at - NOW + cost / w.perf for w in fleet)
    assert choice.finish_s <= best * 1.02 + 0.0501


@given(workers, st.lists(st.floats(min_value=0, max_value=500), max_size=30))
def test_the_table_stays_sorted_and_complete(
    fleet: list[RoutableWorker], costs: list[float]
) -> None:
    table = RoutingTable(ONE_GROUP, fleet)
    rng, granted = random.Random(1), Counter[int]()
    for cost in costs:
        choice = table.choose(wish(cost, dice=rng.random()), NOW)
        if choice is None:
            break
        load = choice.worker.granted_load + cost
        table.granted(choice.worker, cost, load, NOW)
        granted[choice.worker.instance_id] += 1
    assert table.n_workers == len(fleet)


def test_in_a_large_view_few_workers_are_looked_at() -> None:
    """The best of 10,000 idle ones is the fastest, found without a scan."""
    rng = random.Random(1)
    fleet = [worker(i, rng.uniform(50, 100)) for i in range(1, 10_001)]
    table = RoutingTable(ONE_GROUP, fleet)
    choice = table.choose(wish(1_000), NOW)
    assert choice is not None
    assert choice.worker.perf > 95
