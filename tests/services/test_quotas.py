"""Quotas bind before anything has an effect, over any number of routers."""

from __future__ import annotations

import base64

import pytest

from chalicelib.core.model.usage import note_uses, use_key
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.services.keys import (
    KeyLimits,
    KeyMemory,
    check_key,
    issue_key,
    rotate_key,
    shown_key,
)
from chalicelib.services.routing.quotas import LIMITED_SESSION_S, OversizeError
from chalicelib.services.routing.waiting import MAX_ROWS_OF_KEY
from chalicelib.wire.ticket import Allowance, Claims
from fakes.bundles.hot_ports import ENDPOINT_ID, OWN_SOFTWARE, HotWorld, make_group
from tests.services.router import Router, make_world, see


@pytest.fixture
def world() -> HotWorld:
    return make_world()


def new_key(world: HotWorld, **limits: float) -> str:
    text, _ = issue_key(
        world.ports(),
        name="tenant",
        verbs=("route",),
        limits=KeyLimits(**limits),  # type: ignore[arg-type]
    )
    return text


@pytest.mark.parametrize("n_routers", [1, 2, 8])
@pytest.mark.parametrize(
    ("limits", "cost", "most"),
    [
        ({"max_requests_per_s": 2.0}, 1.0, 2 + 2 * 20),
        ({"max_load_per_s": 5.0}, 10.0, 5 + 0.5 * 20),
        ({"max_concurrent": 3}, 10.0, 3 * (1 + 20 / 10)),
        ({"max_requests_per_s": 1.0, "max_load_per_s": 1.0, "max_concurrent": 1}, 0.0, 1 + 20),
    ],
)
def test_all_routers_together_grant_what_the_quota_allows(
    world: HotWorld, n_routers: int, limits: dict[str, float], cost: float, most: float
) -> None:
    """Twenty seconds of a flood, each router asked in turn: a factor of 1, from the first on."""
    world.add_worker(1, **OWN_SOFTWARE, perf=1.0 if "max_concurrent" in limits else 1e6)
    see(world)
    key = new_key(world, **limits)
    routers = [Router(world) for _ in range(n_routers)]
    n_granted = 0
    for i in range(400):
        n_granted += "url" in routers[i % n_routers].ask(None, cost, key=key)
        world.clock.advance(0.05)
    assert n_granted <= most
    assert n_granted >= most * 0.5 or "max_concurrent" in limits


@pytest.mark.parametrize("n_routers", [1, 4])
def test_waiting_rows_are_bounded_by_the_quota(world: HotWorld, n_routers: int) -> None:
    """1,500 new requests in 12 s under 1 request/s, 1 at once, load 1/s left 1,500 rows."""
    limits = {"max_requests_per_s": 1.0, "max_load_per_s": 1.0, "max_concurrent": 1}
    for name, most in (("all", 1), ("max_requests_per_s", 1.5 * 13), ("max_concurrent", 1.5)):
        world.waiting.rows.clear()
        world.quotas.rows.clear()
        given = limits if name == "all" else {name: limits[name]}
        key = new_key(world, **given)
        routers = [Router(world) for _ in range(n_routers)]
        replies = []
        for i in range(1_500):
            if i % 125 == 0:
                see(world)
            replies.append(routers[i % n_routers].ask(0, 1.0, key=key))
            world.clock.advance(12 / 1_500)
        assert 1 <= len(world.waiting.rows) <= most
        assert "over the quota of this key" in str(replies[-1]["status"])
        assert all(reply["request_idx"] for reply in replies)


def test_a_place_that_was_refused_is_not_had_by_asking_again(world: HotWorld) -> None:
    """The idx of a request outside the queue says so: no router makes a row for it."""
    key = new_key(world, max_requests_per_s=0.001)
    router = Router(world)
    router.ask(0, key=key)
    outside = [router.idx(router.ask(0, key=key)) for _ in range(20)]
    for _ in range(10):
        world.clock.advance(3)
        assert [router.idx(router.ask(idx, key=key)) for idx in outside] == outside
    assert len(world.waiting.rows) == 1


def test_who_is_outside_joins_the_queue_when_the_quota_allows(world: HotWorld) -> None:
    key = new_key(world, max_requests_per_s=0.1)
    router = Router(world)
    router.ask(0, key=key)
    outside = router.idx(router.ask(0, key=key))
    seen_at = world.clock.now()
    world.clock.advance(10)
    inside = router.idx(router.ask(outside, key=key))
    assert inside != outside
    row = world.waiting.rows[7, inside]
    assert row.first_seen_at == pytest.approx(seen_at, abs=0.25)


def test_a_waiting_request_that_is_used_again_is_granted_once(world: HotWorld) -> None:
    """Its idx is not consumed, but each grant takes from the bucket."""
    key = new_key(world, max_requests_per_s=0.01)
    router = Router(world)
    idx = router.idx(router.ask(0, key=key))
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    world.clock.advance(1.5)
    assert sum("url" in router.ask(idx, 1.0, key=key) for _ in range(20)) == 1


@pytest.mark.parametrize("cost", [11.0, 1e9])
def test_a_request_larger_than_its_bucket_is_refused_with_its_name(
    world: HotWorld, cost: float
) -> None:
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    key = new_key(world, max_load_per_s=1.0)
    with pytest.raises(OversizeError, match="max_load_per_s 1 holds 10 at once"):
        Router(world).ask(0, cost, key=key)
    assert not world.workers.rows[7, 1].reqnum
    assert not world.waiting.rows


def test_what_no_worker_takes_is_given_back(world: HotWorld) -> None:
    """The only worker stops being ready between the choice and the reservation."""
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    key = new_key(world, max_requests_per_s=0.001)
    router = Router(world)
    del world.workers.rows[7, 1]
    assert "url" not in router.ask(None, 1.0, key=key)
    world.clock.advance(1.5)
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    assert "url" in router.ask(None, 1.0, key=key)
    assert "url" not in router.ask(None, 1.0, key=key)


def test_buckets_that_cannot_be_asked_grant_nothing(world: HotWorld) -> None:
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    key = new_key(world, max_requests_per_s=5.0)
    world.quotas.failure = StorageUnavailableError("throttled")
    reply = Router(world).ask(0, 1.0, key=key)
    assert "url" not in reply
    assert "catching its breath" in str(reply["status"])
    assert not world.workers.rows[7, 1].reqnum


def test_a_key_without_limits_asks_no_bucket(world: HotWorld) -> None:
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    router = Router(world)
    assert "url" in router.ask(0, 1.0)
    assert "url" in router.ask(0, 1.0, key=new_key(world))
    assert not world.quotas.calls


def test_refusals_cost_no_write(world: HotWorld) -> None:
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    key = new_key(world, max_requests_per_s=0.01)
    router = Router(world)
    for _ in range(50):
        router.ask(None, 1.0, key=key)
    assert world.quotas.calls["put"] == 1


def test_one_keys_rows_leave_room_for_others(world: HotWorld) -> None:
    """A key without limits: what it asks beyond the bound is answered, and makes no row."""
    world.publish(make_group())
    key, router = new_key(world), Router(world)
    for i in range(MAX_ROWS_OF_KEY + 500):
        if i % 500 == 0:
            world.clock.advance(2.1)
            see(world)
        router.ask(0, 1.0, key=key)
    assert MAX_ROWS_OF_KEY <= len(world.waiting.rows) <= MAX_ROWS_OF_KEY * 1.25
    see(world)
    world.clock.advance(1.1)
    assert "url" not in router.ask(0, 1.0)
    assert any(row.key_id != key.split(".")[1] for row in world.waiting.rows.values())


def test_the_ticket_says_what_was_taken_for_it(world: HotWorld) -> None:
    """For workers of generation D, which hold a session to it; keys without limits: nothing."""
    world.add_worker(1, **OWN_SOFTWARE, perf=100.0)
    see(world)
    now = world.clock.now()
    claims = {
        name: claims_of(Router(world).ask(None, 5.0, key=key))
        for name, key in (
            ("none", new_key(world)),
            ("load", new_key(world, max_load_per_s=1.0)),
            ("rate", new_key(world, max_requests_per_s=1.0, expires_at=now + 60)),
            ("slots", new_key(world, max_concurrent=2)),
            ("life", new_key(world, expires_at=now + 60)),
        )
    }
    assert claims["none"] is None
    assert claims["load"] == Allowance(max_load=5.0, ends_at=now + LIMITED_SESSION_S)
    assert claims["rate"] == Allowance(max_requests=1, ends_at=now + 60)
    assert claims["life"] == Allowance(ends_at=now + 60)
    slots = claims["slots"]
    assert slots is not None
    assert slots.max_at_once == 1
    assert slots.ends_at < now + 2  # with its place among the requests at once


@pytest.mark.parametrize("is_learned", [False, True])
def test_a_quota_of_load_pays_for_what_a_request_may_use(world: HotWorld, is_learned: bool) -> None:
    """A cap of 65,535 that uses 40 counts as 40, but its worker lets it ask for all that was paid.

    A ticket for 40, or for ten defaults, would be refused there.
    """
    key = new_key(world, max_load_per_s=7_000.0)
    own = use_key(key.split(".")[1], 65_535.0)
    uses = note_uses((), [(own, 40.0)] * 20) if is_learned else ()
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6, uses=uses, reqnum=20)
    see(world)
    router = Router(world)
    reply = router.ask(None, 65_535.0, key=key)
    assert reply["cost"] == (pytest.approx(40.0, rel=0.01) if is_learned else 1_000)
    allowance = claims_of(reply)
    assert allowance is not None
    assert allowance.max_load == 65_535.0
    assert "url" not in router.ask(None, 65_535.0, key=key), "the bucket holds 70,000"


def test_who_understates_pays_for_what_such_requests_used(world: HotWorld) -> None:
    key = new_key(world, max_load_per_s=100.0)
    own = use_key(key.split(".")[1], 0.0001)
    uses = note_uses((), [(own, 400.0)] * 20)
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6, uses=uses, reqnum=20)
    see(world)
    router = Router(world)
    granted = ["url" in router.ask(None, 0.0001, key=key) for _ in range(5)]
    assert granted == [True, True, False, False, False]


def claims_of(reply: dict[str, object]) -> Allowance | None:
    blob = base64.b64decode(str(reply["signature"]))[:-256]  # an RSA-2048 signature
    return Claims.from_bytes(blob).allowance


def test_a_large_request_is_at_once_with_others_for_as_long_as_its_slot_takes() -> None:
    """Ten times the usual, on one of eight slots: 80 s, although the whole worker served 10."""
    world = make_world()
    marks = ((world.clock.now() - 1e3, 1e4),)  # a hundred requests of 100, long ago
    seen = {"reqnum": 100, "n_received": 100, "granted_load": 1e4, "received_load": 1e4}
    world.add_worker(1, **OWN_SOFTWARE, perf=100.0, slots=8, granted_marks=marks, **seen)
    see(world)
    key, _ = issue_key(
        world.ports(), name="t", verbs=("route",), limits=KeyLimits(max_concurrent=1)
    )
    router = Router(world)
    assert "url" in router.ask(None, 1_000.0, key=key)
    for later_s, is_over in ((75.0, True), (15.0, False)):
        world.clock.advance(later_s)
        see(world)
        status = str(router.ask(None, 1.0, key=key)["status"])
        assert ("over the quota" in status) is is_over, later_s


def test_a_keys_derived_and_rotated_texts_have_one_quota(world: HotWorld) -> None:
    """Whatever text a holder routes with, and whatever it costs, two requests pass at once."""
    world.add_worker(1, **OWN_SOFTWARE, perf=1e6)
    see(world)
    ports = world.ports()
    first, row = issue_key(
        ports, name="t", verbs=("route", "read"), limits=KeyLimits(max_requests_per_s=2.0)
    )
    second, _ = rotate_key(ports, row.key_id)
    texts = [first, second]
    for text in (first, second):
        caller = check_key(ports, KeyMemory(), text, world.clock.now())
        texts.append(shown_key(world.secrets, caller, ENDPOINT_ID, 1))
    assert len(set(texts)) == 4
    routers = [Router(world) for _ in range(4)]
    replies = [
        routers[(i + j) % 4].ask(None, cost, key=text)
        for i, text in enumerate(texts)
        for j, cost in enumerate((0.0, 1e-7, 1.0, 1e9))
    ]
    assert sum("url" in reply for reply in replies) == 2
