"""Keys and workers: few keys move, a hot key spreads, and no wait is longer than what is saved."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from chalicelib.core.routing.affinity import (
    N_BUCKETS,
    N_HOMES,
    Homes,
    Preference,
    bucket_of,
    preferences_of,
    weight_class,
)
from chalicelib.core.routing.choice import Choice, Criteria, Why
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.request_index import worker_slot
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable

NOW = 1_000.0
ONE_GROUP = (AutogroupFacts(autogroup_id=1),)
KEYS = [f"conversation {i}" for i in range(2_000)]


def worker(instance_id: int, perf: float = 100.0, **values: float) -> RoutableWorker:
    wait_s = values.pop("wait_s", 0.0)
    return RoutableWorker(
        instance_id=instance_id,
        autogroup_index=0,
        perf=perf,
        usd_per_hour=values.pop("usd", perf / 100),
        free_at=NOW + wait_s,
        granted_load=0.0,
        known_at=NOW,
        **values,  # type: ignore[arg-type]
    )


def fleet(n: int) -> list[RoutableWorker]:
    return [worker(20_000_000 + 13 * i) for i in range(n)]


def wish(*keys: str, saved: float = 60.0, cost: float = 100.0, **values: object) -> Criteria:
    preferences = preferences_of(keys, [saved] * len(keys), cost)
    merged = {"bound_s": 60.0, "dice": 0.5, "preferences": preferences, **values}
    return Criteria(cost=cost, **merged)  # type: ignore[arg-type]


def choose(table: RoutingTable, a_wish: Criteria) -> Choice:
    choice = table.choose(a_wish, NOW)
    assert choice is not None
    return choice


def home(table: RoutingTable, key: str) -> int:
    return choose(table, wish(key)).worker.instance_id


def test_the_same_key_comes_to_the_same_worker_whatever_the_dice() -> None:
    table = RoutingTable(ONE_GROUP, fleet(10))
    for key in KEYS[:50]:
        homes = {
            choose(table, wish(key, dice=dice)).worker.instance_id for dice in (0.0, 0.5, 0.99)
        }
        assert len(homes) == 1


def test_keys_are_spread_evenly_over_equal_workers() -> None:
    table = RoutingTable(ONE_GROUP, fleet(10))
    counts = Counter(home(table, key) for key in KEYS)
    assert len(counts) == 10
    assert max(counts.values()) < 1.3 * len(KEYS) / 10
    assert min(counts.values()) > 0.7 * len(KEYS) / 10


@pytest.mark.parametrize("n", [2, 10, 30])
def test_when_a_worker_leaves_or_comes_only_its_own_keys_move(n: int) -> None:
    workers = fleet(n)
    before, after = RoutingTable(ONE_GROUP, workers), RoutingTable(ONE_GROUP, fleet(n)[1:])
    gone = workers[0].instance_id
    moved = [key for key in KEYS if home(before, key) != home(after, key)]
    assert moved == [key for key in KEYS if home(before, key) == gone]
    assert len(moved) <= (1 / n + 0.02) * len(KEYS) * (1.1 if n == 30 else 1.0)


def test_of_many_workers_each_has_its_part_and_few_keys_move() -> None:
    n = 250
    workers = fleet(n)
    before, after = RoutingTable(ONE_GROUP, workers), RoutingTable(ONE_GROUP, fleet(n)[1:])
    moved = [key for key in KEYS if home(before, key) != home(after, key)]
    gone = workers[0].instance_id
    assert moved == [key for key in KEYS if home(before, key) == gone]
    assert 0 < len(moved) <= (1 / n + 0.005) * len(KEYS)
    homes = Homes(tuple((w.instance_id, 0) for w in workers))
    counts = Counter(homes.order_of(bucket)[0] for bucket in range(N_BUCKETS))
    assert len(counts) == n
    assert max(counts.values()) < 2 * N_BUCKETS / n


@pytest.mark.parametrize("n", [33, 49, 250])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_only_a_workers_own_keys_move_in_fleets_of_any_size_and_mix(n: int, is_mixed: bool) -> None:
    """1/n of all, weighed by class; also for the second and third choice of a hot key."""
    members = tuple((20_000_000 + 13 * i, 40 + i % 3 * is_mixed) for i in range(n))
    before, after = Homes(members), Homes(members[1:])
    gone, weight = members[0][0], 2.0 ** (members[0][1] / 2)
    share = weight / sum(2.0 ** (c / 2) for _, c in members)
    for bucket in range(0, N_BUCKETS, 8):
        left = tuple(i for i in before.order_of(bucket) if i != gone)[: N_HOMES - 1]
        assert after.order_of(bucket)[: N_HOMES - 1] == left
    moved = sum(before.order_of(bucket)[0] == gone for bucket in range(N_BUCKETS))
    assert moved / N_BUCKETS == pytest.approx(share, rel=0.6)


def test_fast_and_cheap_workers_are_home_to_more_keys() -> None:
    fast, dear = worker(1, perf=200.0, usd=1.0), worker(2, usd=2.0)
    table = RoutingTable(ONE_GROUP, [fast, dear, worker(3, usd=0.5)])
    counts = Counter(home(table, key) for key in KEYS)
    assert 1.6 < counts[1] / counts[3] < 2.4
    assert 0.4 < counts[2] / counts[3] < 0.6


def test_a_small_change_of_speed_moves_no_key() -> None:
    assert weight_class(100.0, 0.5) == weight_class(104.0, 0.5) == weight_class(97.0, 0.5)


def test_a_warm_worker_is_waited_for_as_long_as_that_saves_time_and_no_longer() -> None:
    for wait_s, is_kept in ((0.0, True), (0.55, True), (0.65, False)):
        workers = fleet(5)
        first = RoutingTable(ONE_GROUP, workers)
        warm = home(first, "a")
        busy = [replace(w, free_at=NOW + wait_s * (w.instance_id == warm)) for w in workers]
        choice = choose(RoutingTable(ONE_GROUP, busy), wish("a", saved=60.0))
        assert (choice.worker.instance_id == warm) is is_kept
        assert choice.wait_s == pytest.approx(wait_s if is_kept else 0.0)


def test_what_the_others_wait_counts_too() -> None:
    workers = fleet(5)
    warm = home(RoutingTable(ONE_GROUP, workers), "a")
    busy = [replace(w, free_at=NOW + 3.0 + 0.5 * (w.instance_id == warm)) for w in workers]
    choice = choose(RoutingTable(ONE_GROUP, busy), wish("a", saved=60.0))
    assert (choice.worker.instance_id, choice.why) == (warm, Why.WARM)


def test_the_special_key_goes_before_the_general_one_and_that_before_any_worker() -> None:
    workers = fleet(60)
    table = RoutingTable(ONE_GROUP, workers)
    order = Homes(tuple((w.instance_id, 0) for w in workers)).order_of(bucket_of("conversation"))
    system = next(key for key in KEYS if home(table, key) not in order)
    assert choose(table, wish(system, "conversation")).worker.instance_id == order[0]
    taken = [replace(w, free_at=NOW + 9.0 * (w.instance_id in order)) for w in workers]
    choice = choose(RoutingTable(ONE_GROUP, taken), wish(system, "conversation"))
    assert choice.worker.instance_id == home(table, system)


def test_a_hot_key_takes_as_many_workers_as_it_needs() -> None:
    table = RoutingTable(ONE_GROUP, fleet(30))
    used = []
    for _ in range(60):
        choice = choose(table, wish("hot", saved=50.0))
        table.granted(choice.worker, 100.0, choice.worker.granted_load + 100.0, NOW)
        used.append(choice.worker.instance_id)
    counts = Counter(used)
    assert max(counts.values()) <= 3
    assert len(counts) >= 20


def test_the_worker_that_failed_and_one_beyond_the_bound_are_not_taken() -> None:
    workers = fleet(5)
    warm = home(RoutingTable(ONE_GROUP, workers), "a")
    table = RoutingTable(ONE_GROUP, workers)
    choice = choose(table, wish("a", avoid_slot=worker_slot(warm)))
    assert choice.worker.instance_id != warm
    busy = [replace(w, free_at=NOW + 0.5 * (w.instance_id == warm)) for w in workers]
    choice = choose(RoutingTable(ONE_GROUP, busy), wish("a", bound_s=0.4))
    assert choice.worker.instance_id != warm


def test_a_worker_with_a_free_slot_is_warm_without_a_wait() -> None:
    workers = [worker(i, headroom_s=4.0, wait_s=2.0) for i in range(1, 9)]
    table = RoutingTable(ONE_GROUP, workers)
    homes = {home(table, key) for key in KEYS[:200]}
    assert len(homes) == 8  # without keys all would be packed onto the first


def test_orders_of_a_large_fleets_parts_are_made_once() -> None:
    """Each refresh of a router's view may show another part of the fleet."""
    parts = [[worker(100 * part + i) for i in range(1, 6)] for part in range(3)]
    table = RoutingTable(ONE_GROUP, parts[0])
    homes = []
    for part in (0, 1, 2, 0, 1, 2):
        newer = RoutingTable(ONE_GROUP, parts[part])
        newer.carry_over(table, NOW)
        home(newer, "a")
        homes.append(newer._pool_of[0]._homes[0])
        table = newer
    assert homes[:3] == homes[3:]
    assert len({id(one) for one in homes}) == 3


def test_a_worker_that_left_is_skipped_and_the_orders_outlive_the_view() -> None:
    workers = fleet(10)
    table = RoutingTable(ONE_GROUP, workers)
    warm = home(table, "a")
    newer = RoutingTable(ONE_GROUP, fleet(10))
    newer.carry_over(table, NOW)
    assert home(newer, "a") == warm
    newer.drop(next(w for w in newer._by_slot.values() if w.instance_id == warm))
    second = home(newer, "a")
    assert second != warm
    assert home(RoutingTable(ONE_GROUP, [w for w in fleet(10) if w.instance_id != warm]), "a") == (
        second
    )


def test_an_order_is_bounded_however_many_workers_and_keys_there_are() -> None:
    homes = Homes(tuple((i, 0) for i in range(1, 251)))
    for bucket in range(0, N_BUCKETS, 512):
        order = homes.order_of(bucket)
        assert len(order) == len(set(order)) == N_HOMES
        assert tuple(homes.one_by_one(bucket)) == order
    assert {bucket_of(key) < N_BUCKETS for key in [*KEYS, "é" * 128]} == {True}


def test_what_is_saved_is_at_most_the_cost_and_a_fifth_where_nobody_says() -> None:
    assert preferences_of(("a",), [500.0], 100.0) == (Preference(bucket_of("a"), 100.0, 100.0),)
    assert preferences_of(("a", "b"), None, 50.0) == (
        Preference(bucket_of("b"), 10.0),
        Preference(bucket_of("a"), 10.0),
    )
    assert preferences_of((), None, 50.0) == ()
