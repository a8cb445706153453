"""A database that takes its time: each call fails after its time-out, each route is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.services.keys import endpoint_key, issue_key
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import route
from chalicelib.wire.routing import RouteRequest
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, HotWorld
from fakes.ports.clock import ManualClock
from tests.services.router import make_world, see

TIME_OUT_S = 3.0  # two attempts of 1.5 s


class Slow:
    """A port of which every call takes its time-out and fails."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def __getattr__(self, method: str) -> Any:
        def call(*_: object, **__: object) -> None:
            self._clock.advance(TIME_OUT_S)
            raise StorageUnavailableError("silent")

        return call


def request(key: str, idx: int = 0) -> RouteRequest:
    return RouteRequest(
        endpoint=ENDPOINT_NAME, endpoint_id=None, api_key=key, cost=100.0, request_idx=idx
    )


@pytest.fixture
def world() -> HotWorld:
    world = make_world()
    world.add_worker(1)
    see(world)
    return world


@pytest.mark.parametrize("knows_the_group", [True, False])
@pytest.mark.parametrize("is_own_key", [True, False])
def test_a_route_is_answered_before_an_old_client_gives_up(
    world: HotWorld, is_own_key: bool, knows_the_group: bool
) -> None:
    """Old clients wait four seconds (protocol.md A.6); everything is to be read anew."""
    own = endpoint_key(world.secrets, ENDPOINT_ID, 1)
    key = own if is_own_key else issue_key(world.ports(), name="x", verbs=("route",))[0]
    memory = RouterMemory()
    if knows_the_group:
        route(world.ports(), memory, request(key))
    world.clock.advance(60)
    slow: Any = Slow(world.clock)
    ports = replace(world.ports(), workers=slow, views=slow, waiting=slow, keys=slow)
    asked_at = world.clock.now()
    reply = route(ports, memory, request(key))
    assert "url" not in reply
    assert reply["request_idx"]
    assert world.clock.now() - asked_at < 4.0


def test_the_next_route_does_not_wait_for_the_same_again(world: HotWorld) -> None:
    key = endpoint_key(world.secrets, ENDPOINT_ID, 1)
    memory = RouterMemory()
    route(world.ports(), memory, request(key))
    world.clock.advance(60)
    slow: Any = Slow(world.clock)
    route(replace(world.ports(), views=slow), memory, request(key))
    asked_at = world.clock.now()
    assert "url" in route(replace(world.ports(), views=slow), memory, request(key))
    assert world.clock.now() == asked_at
