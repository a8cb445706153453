"""Keys of affinity beside what routing promised before: tiers, weights, quotas, turns, privacy."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from chalicelib.core.routing.choice import OnDemand, Why
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable
from chalicelib.services.keys import KeyLimits, issue_key
from fakes.bundles.hot_ports import ENDPOINT_ID, OWN_SOFTWARE, HotWorld
from tests.core.test_affinity import NOW, choose, wish, worker
from tests.services.router import Router, make_world, see

KEYS = [f"conversation {i}" for i in range(400)]


def two_kinds(**facts: float) -> tuple[AutogroupFacts, AutogroupFacts]:
    return AutogroupFacts(autogroup_id=1), AutogroupFacts(autogroup_id=2, **facts)  # type: ignore[arg-type]


def fleet_of_two(n: int) -> list:  # type: ignore[type-arg]
    workers = [worker(i) for i in range(1, 2 * n + 1)]
    for one in workers[n:]:
        one.autogroup_index = 1
    return workers


def test_weights_share_exactly_whatever_keys_come() -> None:
    table = RoutingTable(two_kinds(weight=0.25), fleet_of_two(4))
    counts: Counter[int] = Counter()
    for key in KEYS:
        choice = choose(table, wish(key))
        table.granted(choice.worker, 0.0, choice.worker.granted_load, NOW)
        counts[choice.worker.autogroup_index] += 1
    assert counts[1] == pytest.approx(len(KEYS) / 5, abs=1)


def test_no_key_leads_into_a_higher_tier_while_the_lower_one_serves() -> None:
    table = RoutingTable(two_kinds(tier=1), fleet_of_two(4))
    assert {choose(table, wish(key)).worker.autogroup_index for key in KEYS} == {0}
    full = fleet_of_two(4)
    for one in full[:4]:
        one.free_at = NOW + 90.0
    overflow = RoutingTable(two_kinds(tier=1), full)
    assert {choose(overflow, wish(key)).worker.autogroup_index for key in KEYS} == {1}


def test_a_paused_or_weightless_autogroup_gets_none_of_them() -> None:
    table = RoutingTable(two_kinds(weight=0.0), fleet_of_two(4))
    assert {choose(table, wish(key)).worker.autogroup_index for key in KEYS} == {0}


def test_who_wants_no_interruptible_worker_gets_none_for_its_cache() -> None:
    workers = [worker(i) for i in range(1, 9)]
    for one in workers[::2]:
        one.is_bid = True
    table = RoutingTable((AutogroupFacts(autogroup_id=1),), workers)
    chosen = [choose(table, wish(key, on_demand=OnDemand.ONLY)) for key in KEYS]
    assert not any(choice.worker.is_bid for choice in chosen)
    assert {choice.why for choice in chosen} == {Why.WARM}


def test_full_slots_are_not_given_away_for_a_cache_that_saves_less() -> None:
    workers = [worker(i, headroom_s=4.0, wait_s=8.0 if i < 5 else 0.0) for i in range(1, 9)]
    table = RoutingTable((AutogroupFacts(autogroup_id=1),), workers)
    assert {choose(table, wish(key, saved=20.0)).worker.instance_id for key in KEYS} == {5, 6, 7, 8}


@pytest.mark.parametrize("keys", [(), ("general", "special")])
def test_a_reservation_stands_at_most_as_far_as_its_bound(keys: tuple[str, ...]) -> None:
    """Others' grants that one has not seen refuse it, with a key as without."""
    table = RoutingTable((AutogroupFacts(autogroup_id=1),), [worker(i) for i in range(1, 5)])
    choice = choose(table, wish(*keys, bound_s=1.0, is_strict=True))
    most_s = (choice.bound - choice.worker.granted_load) / choice.worker.perf
    assert most_s <= 1.0 + choice.wait_s + 1e-9


def busy_world(n_workers: int, n_owed: float) -> HotWorld:
    """Each worker has this many requests of 100 before it, of 100 load a second."""
    world = make_world()
    for number in range(1, n_workers + 1):
        world.add_worker(number, **OWN_SOFTWARE, working_load=100.0 * n_owed)
    see(world)
    return world


@pytest.mark.parametrize("affinity", [(), ("general", "special")])
def test_a_quota_is_as_large_with_keys_as_without(affinity: tuple[str, ...]) -> None:
    world = busy_world(8, 0.0)
    limits = KeyLimits(max_requests_per_s=5)
    key, _ = issue_key(world.ports(), name="q", verbs=("route",), limits=limits)
    router = Router(world)
    replies = [router.ask(cost=1, key=key, affinity=affinity) for _ in range(8)]
    assert ["url" in reply for reply in replies] == [True] * 5 + [False] * 3
    assert not world.waiting.rows


@pytest.mark.parametrize("affinity", [(), ("general", "special")])
def test_who_must_wait_waits_whatever_would_be_warm_for_it(affinity: tuple[str, ...]) -> None:
    """Nobody is free soon enough: a key is no way around the queue, nor out of it."""
    world = busy_world(4, 60.0)
    router = Router(world)
    replies = [
        router.ask(is_paced=True, affinity=affinity, prefix_cost=(100.0,) * len(affinity) or None)
        for _ in range(3)
    ]
    assert not any("url" in reply for reply in replies)
    assert len(world.waiting.rows) == 3


def test_no_choice_of_keys_loads_one_worker_above_the_others() -> None:
    """Hashing is public: an attacker finds keys of one worker, and states that all is saved."""
    idle = busy_world(8, 0.0)
    scout = Router(idle)
    homes: dict[object, list[str]] = {}
    for key in (f"attack {i}" for i in range(80)):
        home = scout.ask(cost=0.001, affinity=(key,), prefix_cost=(0.001,))["url"]
        homes.setdefault(home, []).append(key)
    assert len(homes) == 8
    aimed = max(homes.values(), key=len)
    world = busy_world(8, 0.0)
    routers = [Router(world) for _ in range(3)]
    for i in range(40):
        routers[i % 3].ask(affinity=(aimed[i % len(aimed)],), prefix_cost=(100.0,))
    loads = [row.granted_load for row in world.workers.list(ENDPOINT_ID)]
    assert sum(loads) == 40 * 100.0
    assert max(loads) <= 40 * 100.0 / 8 + 2 * 100.0


@pytest.mark.parametrize("usd_per_hour", [0.0, 0.5, 1e300])
@pytest.mark.parametrize("perf", [5e-324, 1e-120, 1e15])
def test_no_speed_that_a_worker_may_report_stops_requests_with_a_key(
    perf: float, usd_per_hour: float
) -> None:
    """One worker's `max_perf` of 1e-120 was a 500 for every request of the group with a key."""
    world = make_world()
    world.add_worker(1, perf=perf, usd_per_hour=usd_per_hour)
    see(world)
    assert "url" in Router(world).ask(cost=1.0, affinity=("alone",))
    for number in range(2, 6):
        world.add_worker(number)
    see(world)
    router = Router(world)
    assert all("url" in router.ask(cost=1.0, affinity=(f"key {i}",)) for i in range(20))


def test_no_key_is_in_a_log_a_row_a_view_or_an_event(caplog: pytest.LogCaptureFixture) -> None:
    world = make_world()
    for number in range(1, 5):
        world.add_worker(number)
    see(world)
    router = Router(world)
    secret = "my secret diary, word for word"
    with caplog.at_level(logging.DEBUG):
        replies = [router.ask(affinity=(secret,), cost=cost) for cost in (100.0, 1e9, 100.0)]
        for row in world.workers.list(ENDPOINT_ID):
            world.workers.remove(ENDPOINT_ID, row.instance_id)
        world.clock.advance(30.0)
        see(world)
        replies.append(router.ask(affinity=(secret,)))  # nobody is left: it waits
    assert "url" in replies[0]
    assert "url" not in replies[-1]
    left = (replies, world.workers.rows, world.views.views, world.waiting.rows, world.events.events)
    assert "diary" not in repr(left) + repr([vars(record) for record in caplog.records])
    assert "diary" not in repr(router.memory)
