"""`affinity` at `/route/`: the same worker for the same key, at every router, and nothing kept."""

from __future__ import annotations

from collections import Counter

import pytest

from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld
from tests.services.router import Router, make_world, see

N_WORKERS = 8


@pytest.fixture
def world() -> HotWorld:
    world = make_world()
    rest(world)
    return world


def rest(world: HotWorld) -> None:
    """All has been served, and the workers have just said so."""
    world.clock.advance(30.0)
    for number in range(1, N_WORKERS + 1):
        world.add_worker(number)
    see(world)


def ask(world: HotWorld, router: Router, *keys: str) -> object:
    rest(world)
    return router.ask(cost=100.0, affinity=keys, prefix_cost=(80.0,) * len(keys) or None)["url"]


def test_every_router_sends_a_key_to_the_same_worker(world: HotWorld) -> None:
    urls = [ask(world, Router(world), "conversation") for _ in range(5)]
    assert len(set(urls)) == 1
    router = Router(world)
    assert len({ask(world, router, f"conversation {i}") for i in range(60)}) == N_WORKERS


def test_without_a_key_the_load_is_balanced_as_before(world: HotWorld) -> None:
    router = Router(world)
    urls = Counter(router.ask(cost=1e6)["url"] for _ in range(N_WORKERS))
    assert set(urls.values()) == {1}


def test_a_hot_key_makes_nobody_wait_longer_than_it_saves(world: HotWorld) -> None:
    routers = [Router(world) for _ in range(3)]
    for i in range(24):
        routers[i % 3].ask(cost=100.0, affinity=("hot",), prefix_cost=(50.0,))
    rows = world.workers.list(ENDPOINT_ID)
    assert sum(row.reqnum for row in rows) == 24
    assert sum(row.reqnum > 0 for row in rows) == N_WORKERS
    assert max(row.granted_load / row.perf for row in rows) < 2 * 24 * 100.0 / sum(
        row.perf for row in rows
    )


def test_an_affinity_costs_no_call_and_leaves_nothing_behind(world: HotWorld) -> None:
    router, other = Router(world), Router(world)
    ask(world, router, "warm-up")
    ask(world, other)
    rest(world)
    before = Counter(world.workers.calls), Counter(world.views.calls)
    router.ask(cost=100.0, affinity=("a", "b"))
    with_key = Counter(world.workers.calls) - before[0], Counter(world.views.calls) - before[1]
    rest(world)
    before = Counter(world.workers.calls), Counter(world.views.calls)
    other.ask(cost=100.0)
    without = Counter(world.workers.calls) - before[0], Counter(world.views.calls) - before[1]
    assert with_key == without
    for text in (world.workers.list(ENDPOINT_ID), world.views.views, world.waiting.rows):
        assert "warm-up" not in repr(text)
