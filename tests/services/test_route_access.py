"""Access: keys, names and quotas."""

from __future__ import annotations

import pytest

from chalicelib.services.keys import KeyLimits, endpoint_key, issue_key
from chalicelib.services.routing.route import RouteRefusedError
from fakes.bundles.hot_ports import ENDPOINT_NAME, OWN_SOFTWARE, HotWorld, make_group
from tests.services.router import Router, make_world, see


@pytest.fixture
def world() -> HotWorld:
    return make_world()


@pytest.mark.parametrize(
    ("key", "endpoint"),
    [
        ("", ENDPOINT_NAME),
        ("blk.e7-r-own.1." + "A" * 43, ENDPOINT_NAME),
        (None, "no such group"),
    ],
)
def test_wrong_keys_and_unknown_names_get_the_same_answer(
    world: HotWorld, key: str | None, endpoint: str
) -> None:
    with pytest.raises(RouteRefusedError, match="invalid api_key or endpoint NAME not found"):
        Router(world).ask(key=key, endpoint=endpoint)


def test_a_flood_of_bad_keys_costs_no_read(world: HotWorld) -> None:
    router = Router(world)
    for i in range(100):
        with pytest.raises(RouteRefusedError):
            router.ask(key=f"blk.e7-r-{i:x}.1." + "A" * 43)
    assert not world.keys.calls
    assert not world.views.calls


def test_a_key_of_another_group_or_without_the_verb_does_not_route(world: HotWorld) -> None:
    router = Router(world)
    foreign = endpoint_key(world.secrets, 8, 1)
    reader, _ = issue_key(world.ports(), name="r", verbs=("read",))
    for key in (foreign, reader):
        with pytest.raises(RouteRefusedError):
            router.ask(key=key)


def test_an_old_generation_of_the_endpoints_own_key_is_refused(world: HotWorld) -> None:
    world.publish(make_group(key_generation=2))
    with pytest.raises(RouteRefusedError):
        Router(world).ask()


def test_a_key_over_its_quota_waits_without_making_demand(world: HotWorld) -> None:
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    key, _ = issue_key(
        world.ports(), name="q", verbs=("route",), limits=KeyLimits(max_requests_per_s=5)
    )
    router = Router(world)
    replies = [router.ask(cost=1, key=key) for _ in range(8)]
    assert sum("url" in reply for reply in replies) == 5
    assert "over the quota" in str(replies[-1]["status"])
    assert not world.waiting.rows
    world.clock.advance(1)
    assert "url" in router.ask(cost=1, key=key)
