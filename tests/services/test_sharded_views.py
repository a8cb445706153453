"""A fleet larger than one item: each router reads one shard at a time, and follows its size."""

from __future__ import annotations

import pytest

from chalicelib.core.routing.packed_view import unpack_view
from chalicelib.core.routing.view import SHARD_SIZE
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld
from tests.services.router import Router, make_world, see

LARGE = 2 * SHARD_SIZE + 100  # three shards


@pytest.fixture
def world() -> HotWorld:
    world = make_world()
    grow(world, LARGE)
    return world


def grow(world: HotWorld, n_workers: int) -> None:
    for i in range(1, n_workers + 1):
        if (ENDPOINT_ID, i) not in world.workers.rows:
            world.add_worker(i)
    see(world)


def shrink(world: HotWorld, n_workers: int) -> None:
    for key in [key for key in world.workers.rows if key[1] > n_workers]:
        del world.workers.rows[key]
    see(world)


def granted(router: Router, seconds: int, per_s: int = 20) -> set[str]:
    """The workers' addresses of so many grants; the view is rebuilt each second."""
    urls = set()
    for _ in range(seconds):
        router.world.clock.advance(1.0)
        see(router.world)
        for _ in range(per_s):
            reply = router.ask(cost=1)
            assert "url" in reply
            urls.add(str(reply["url"]))
    return urls


def test_a_router_reads_one_shard_a_second_and_in_time_sees_them_all(world: HotWorld) -> None:
    router = Router(world)
    shard_of = {
        worker.url: shard
        for shard in range(3)
        for worker in unpack_view(world.views.views[ENDPOINT_ID, shard].blob).workers
    }
    assert len(shard_of) == LARGE
    urls = granted(router, seconds=20)
    assert world.views.calls["read"] == 20
    assert {shard_of[url] for url in urls} == {0, 1, 2}
    assert sum(row.reqnum for row in world.workers.rows.values()) == 20 * 20


def test_a_view_that_did_not_change_is_not_unpacked_again(world: HotWorld) -> None:
    router = Router(world)
    router.ask(cost=1)
    memory = router.memory.groups[ENDPOINT_ID]
    world.clock.advance(1.1)
    router.ask(cost=1)
    assert world.views.calls["read"] == 2
    assert router.memory.groups[ENDPOINT_ID] is memory


@pytest.mark.parametrize("n_left", [SHARD_SIZE + 50, 20])
def test_routers_leave_a_shard_that_is_gone(world: HotWorld, n_left: int) -> None:
    """What a shrunk fleet's view leaves behind is not overwritten any more."""
    routers = [Router(world) for _ in range(12)]
    for router in routers:
        granted(router, seconds=1, per_s=1)
    shrink(world, n_left)
    newest = world.clock.now()
    for _ in range(10):
        world.clock.advance(1.0)
        see(world)
        for router in routers:
            router.ask(cost=1)
    for router in routers:
        view = router.memory.groups[ENDPOINT_ID].view
        assert view.built_at > newest
        assert {"ready": n_left} == view.n_by_state


def test_routers_find_the_shards_of_a_fleet_that_grew() -> None:
    world = make_world()
    grow(world, 50)
    router = Router(world)
    granted(router, seconds=1)
    grow(world, LARGE)
    new = {row.url for row in world.workers.rows.values() if row.instance_id > 50}
    assert len(granted(router, seconds=10) & new) > 50
