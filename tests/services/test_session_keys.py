"""A session ends with its key: tickets name the key, workers name the sessions', and are told."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator

import pytest

from chalicelib.core.model.caller_key import key_name, own_key_id, split_key_name
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.services.keys import (
    KeyLimits,
    KeyMemory,
    check_key,
    hold_key,
    issue_key,
    revoke_key,
    shown_key,
)
from chalicelib.services.routing.session_keys import ASKED_EVERY_S, SEEN_S
from chalicelib.wire.reports import MAX_SESSION_KEYS, WorkerReport
from chalicelib.wire.ticket import Claims
from fakes.bundles.hot_ports import ENDPOINT_ID, OWN_SOFTWARE, HotWorld, make_group
from tests.services.reporter import Reporter
from tests.services.router import Router, make_world, see

REPORT_S = 10.0  # of an idle worker
SIGNATURE_SIZE = 256


def claims_of(reply: dict[str, object]) -> Claims:
    return Claims.from_bytes(base64.b64decode(str(reply["signature"]))[:-SIGNATURE_SIZE])


@pytest.fixture
def world() -> HotWorld:
    return make_world()


@pytest.mark.parametrize(
    ("version", "is_named"),
    [("2.1.0", True), ("3.0.0", True), ("2.10", True), ("2.0.0", False), ("", False), ("x", False)],
)
def test_a_ticket_names_its_key_to_workers_that_read_it(
    world: HotWorld, version: str, *, is_named: bool
) -> None:
    world.add_worker(1, **OWN_SOFTWARE, version=version)
    see(world)
    text, row = issue_key(world.ports(), name="x", verbs=("route",))
    claims = claims_of(Router(world).ask(key=text))
    assert claims.key == (key_name(row.key_id, 1) if is_named else "")
    assert text.split(".")[-1] not in str(claims)


def test_own_and_derived_keys_are_named_by_what_ends_them(world: HotWorld) -> None:
    world.add_worker(1, **OWN_SOFTWARE, version="2.1.0")
    see(world)
    router = Router(world)
    assert claims_of(router.ask()).key == key_name(own_key_id(ENDPOINT_ID), 1)
    text, row = issue_key(
        world.ports(), name="x", verbs=("route", "read"), limits=KeyLimits(max_concurrent=9)
    )
    caller = check_key(world.ports(), KeyMemory(), text, world.clock.now())
    derived = shown_key(world.secrets, caller, ENDPOINT_ID, 1)
    claims = claims_of(router.ask(key=derived))
    assert claims.key == key_name(row.key_id, 1)
    assert claims.allowance is not None
    assert claims.allowance.max_at_once == 1


def _revoke(world: HotWorld, key_id: str) -> None:
    revoke_key(world.ports(), key_id)


def _delete(world: HotWorld, key_id: str) -> None:
    world.keys.remove(key_id)


def _hold(world: HotWorld, key_id: str) -> None:
    hold_key(world.ports(), key_id)


@pytest.fixture
def reporter(world: HotWorld) -> Reporter:
    world.add_worker(1, **OWN_SOFTWARE, version="2.1.0")
    return Reporter(world)


_SEQ = itertools.count(1)


def told(reporter: Reporter, *names: str) -> tuple[str, ...]:
    reply = reporter.send(ticket="D", seq=next(_SEQ), session_keys=list(names))
    assert reply is not None
    return reply.ended_keys


@pytest.mark.parametrize("ends", [_revoke, _delete, _hold])
def test_a_session_ends_within_two_reports_of_an_idle_worker(
    world: HotWorld, reporter: Reporter, ends: Callable[[HotWorld, str], None]
) -> None:
    """It lived on for an hour."""
    _, row = issue_key(world.ports(), name="x", verbs=("route",))
    _, other = issue_key(world.ports(), name="y", verbs=("route",))
    mine, theirs = key_name(row.key_id, 1), key_name(other.key_id, 1)
    assert told(reporter, mine, theirs) == ()
    ends(world, row.key_id)
    waited_s = 0.0
    ended: tuple[str, ...] = ()
    while not ended:
        world.clock.advance(REPORT_S)
        waited_s += REPORT_S
        ended = told(reporter, mine, theirs)
    assert ended == (mine,)
    assert waited_s <= 2 * REPORT_S
    world.clock.advance(REPORT_S)
    assert told(reporter, theirs) == ()


def test_a_busy_worker_is_told_as_soon(world: HotWorld, reporter: Reporter) -> None:
    _, row = issue_key(world.ports(), name="x", verbs=("route",))
    name = key_name(row.key_id, 1)
    assert told(reporter, name) == ()
    revoke_key(world.ports(), row.key_id)
    waited_s = 0.0
    ended: tuple[str, ...] = ()
    while not ended:
        world.clock.advance(1.0)
        waited_s += 1.0
        ended = told(reporter, name)
    assert waited_s <= SEEN_S + ASKED_EVERY_S


def test_an_older_generation_and_a_key_that_expired_end(
    world: HotWorld, reporter: Reporter
) -> None:
    limits = KeyLimits(expires_at=world.clock.now() + 3.0)
    _, brief = issue_key(world.ports(), name="x", verbs=("route",), limits=limits)
    _, row = issue_key(world.ports(), name="y", verbs=("route",))
    names = [key_name(brief.key_id, 1), key_name(row.key_id, 1), key_name(row.key_id, 2)]
    world.clock.advance(4.0)
    assert told(reporter, *names) == (names[0], names[2])  # there is no second generation yet


def test_a_groups_own_key_ends_with_its_generation(world: HotWorld, reporter: Reporter) -> None:
    names = [key_name(own_key_id(ENDPOINT_ID), generation) for generation in (1, 2)]
    assert told(reporter, names[0]) == ()
    world.publish(make_group(key_generation=2))
    world.clock.advance(REPORT_S)
    assert told(reporter, *names) == (names[0],)
    world.publish()
    world.clock.advance(REPORT_S)
    assert told(reporter, names[1]) == (names[1],)


def test_what_cannot_be_read_is_not_ended(world: HotWorld, reporter: Reporter) -> None:
    _, row = issue_key(world.ports(), name="x", verbs=("route",))
    revoke_key(world.ports(), row.key_id)
    world.keys.failure = StorageUnavailableError("away")
    assert told(reporter, key_name(row.key_id, 1)) == ()
    world.keys.failure = None
    world.clock.advance(ASKED_EVERY_S)
    assert told(reporter, key_name(row.key_id, 1)) == (key_name(row.key_id, 1),)


def test_a_worker_that_names_what_it_likes_costs_few_reads(
    world: HotWorld, reporter: Reporter
) -> None:
    """A hundred reports a second of fifty invented keys each."""

    def invented() -> Iterator[str]:
        for i in itertools.count():
            yield f"a-r-{i}.1"

    names = invented()
    for _ in range(200):
        told(reporter, *itertools.islice(names, 60))
        world.clock.advance(0.01)
    assert world.keys.calls["find"] <= MAX_SESSION_KEYS
    world.clock.advance(ASKED_EVERY_S)
    assert told(reporter, "", "x", "a-r-1", "a-r-1.0", "blk.a-r-1.1", "e7-r-own.1") == ()


def test_names_that_are_none_are_left_out() -> None:
    body = b'{"id": 1, "session_keys": ["a-r-1.1", 7, null, ["x"]]}'
    assert WorkerReport.from_json(body).session_keys == ("a-r-1.1",)
    for odd in (b"7", b'"a-r-1.1"', b'{"a": 1}', b"null"):
        assert WorkerReport.from_json(b'{"id": 1, "session_keys": ' + odd + b"}").session_keys == ()


@pytest.mark.parametrize(
    "text", ["", "a-r-1", "a-r-1.0", "a-r-1.1.x", "a-x-1.1", "e-r-1.1", "a-r-1.1\n"]
)
def test_what_is_no_name_of_a_key_names_none(text: str) -> None:
    assert split_key_name(text) is None
    assert split_key_name("e7-roa-x1.12") == ("e7-roa-x1", 12)
