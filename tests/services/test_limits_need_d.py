"""What a key may spend holds whatever a group's workers are: who cannot hold it to that gets none.

A ticket of generation C is a signature over the worker's address: whoever holds one can use that
worker for as long as it lives, in sessions too. A and B bind neither load nor time.
"""

from __future__ import annotations

import pytest

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.routing.table import AutogroupFacts
from chalicelib.services.keys import KeyLimits, issue_key
from fakes.bundles.hot_ports import AUTOGROUP_ID, OWN_SOFTWARE, HotWorld, make_group
from tests.services.router import Router, make_world, see

FORMER = (TicketGeneration.A, TicketGeneration.B, TicketGeneration.C)
LIMITS: dict[str, dict[str, float]] = {
    "requests": {"max_requests_per_s": 1e3},
    "load": {"max_load_per_s": 1e6},
    "at once": {"max_concurrent": 1_000},
    "life": {"expires_at": 4e9},
}


def new_key(world: HotWorld, **limits: float) -> str:
    given = KeyLimits(**limits)  # type: ignore[arg-type]
    return issue_key(world.ports(), name="tenant", verbs=("route",), limits=given)[0]


@pytest.mark.parametrize("generation", FORMER)
@pytest.mark.parametrize("name", LIMITS)
def test_no_key_with_limits_is_served_by_who_cannot_keep_them(
    generation: TicketGeneration, name: str
) -> None:
    world = make_world()
    world.add_worker(1, ticket=generation, perf=1e6)
    see(world)
    key, router = new_key(world, **LIMITS[name]), Router(world)
    replies = [router.ask(idx, 1.0, key=key) for idx in (None, 0, 0)]
    assert not any("url" in reply for reply in replies)
    assert "only workers of ticket generation D do" in str(replies[0]["status"])
    assert not world.waiting.rows, "what cannot be served there is no demand for more of it"
    assert "url" in router.ask(0, 1.0, key=new_key(world))


@pytest.mark.parametrize("slots", [0, 8])
@pytest.mark.parametrize("affinity", [(), ("prefix",)])
def test_beside_others_it_is_served_by_those_that_do(slots: int, affinity: tuple[str, ...]) -> None:
    """The others are cheaper, faster and idle."""
    world = make_world()
    own = world.add_worker(1, **OWN_SOFTWARE, perf=100.0, slots=slots, usd_per_hour=2.0)
    for i in range(2, 6):
        world.add_worker(i, ticket=FORMER[i % 3], perf=1e5, slots=slots, usd_per_hour=0.1)
    see(world)
    key, router = new_key(world, max_concurrent=1_000), Router(world)
    asked = {"affinity": affinity, "prefix_cost": (1.0,) * len(affinity)}
    replies = [router.ask(0, 1.0, key=key, **asked) for _ in range(20)]  # type: ignore[arg-type]
    assert {reply.get("url") for reply in replies} == {own.url}
    free = [router.ask(0, 1.0, key=new_key(world)).get("url") for _ in range(5)]
    assert set(free) - {own.url}


def test_an_owners_word_that_workers_are_older_counts() -> None:
    world = make_world()
    group = make_group(autogroups=(AutogroupFacts(autogroup_id=AUTOGROUP_ID, generation="C"),))
    world.publish(group)
    router = Router(world)
    key = new_key(world, max_concurrent=1)
    see(world)
    assert "generation D" in str(router.ask(0, key=key)["status"])
    assert not world.waiting.rows, "nothing is rented that could not serve it"


@pytest.mark.parametrize("other_is_ready", [False, True])
def test_workers_that_may_come_are_asked_for(other_is_ready: bool) -> None:
    """Nobody knows yet what the machines of an autogroup without any will be."""
    world = make_world()
    both = (AutogroupFacts(autogroup_id=AUTOGROUP_ID), AutogroupFacts(autogroup_id=71))
    world.publish(make_group(autogroups=both))
    if other_is_ready:
        world.add_worker(1, ticket=TicketGeneration.C)
    see(world)
    reply = Router(world).ask(0, key=new_key(world, max_concurrent=1))
    assert "url" not in reply
    assert len(world.waiting.rows) == 1
