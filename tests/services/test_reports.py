"""Reports over fakes: who is believed, what is written, when the routers are told."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.routing.packed_view import unpack_view
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.services.keys import worker_token
from chalicelib.services.routing.reports import (
    ReportReply,
    receive_finished,
)
from chalicelib.wire.reports import FinishedReport
from fakes.bundles.hot_ports import ENDPOINT_ID, INTENT_TOKEN, HotWorld, make_group
from tests.services.reporter import Reporter


@pytest.fixture
def world() -> HotWorld:
    world = HotWorld()
    world.publish(make_group())
    return world


def n_routable(world: HotWorld) -> int:
    stored = world.views.views.get((ENDPOINT_ID, 0))
    return len(unpack_view(stored.blob).workers) if stored else 0


def test_a_known_worker_learns_the_time_and_its_key(world: HotWorld) -> None:
    world.add_worker(1, key_id="k1")
    assert Reporter(world).send() == ReportReply(world.clock.now(), "k1")


def test_the_token_may_come_as_basic_password(world: HotWorld) -> None:
    world.add_worker(1)
    reporter = Reporter(world)
    assert reporter.send(token="", basic=reporter.token) is not None


def test_strangers_change_nothing(world: HotWorld) -> None:
    before = world.add_worker(1)
    world.add_worker(2)
    reporter, other = Reporter(world), Reporter(world, 2)
    forged = reporter.token[:-4] + "AAAA"
    of_another_group = worker_token(world.secrets, 8, INTENT_TOKEN.format(instance_id=1))
    for token in ("", "junk", forged, other.token, of_another_group):
        assert reporter.send(token=token, error_msg="broken") is None
    assert world.workers.rows[ENDPOINT_ID, 1] == before
    assert Reporter(world, 99).send() is None


def test_a_forged_token_costs_no_read(world: HotWorld) -> None:
    world.add_worker(1)
    reporter = Reporter(world)
    for token in ("", "junk", f"7.token-of-1.{'A' * 22}"):
        reporter.send(token=token)
    assert not world.workers.calls


def test_a_report_costs_one_read_and_one_write(world: HotWorld) -> None:
    world.add_worker(1)
    reporter = Reporter(world)
    for i in range(20):
        reporter.send(cur_load=float(i))
        world.clock.advance(0.01)
    assert world.workers.calls == Counter(find=20, update=20, list=1)
    assert world.views.calls["try_lease"] == 1


def test_a_duplicate_is_not_written(world: HotWorld) -> None:
    world.add_worker(1)
    reporter = Reporter(world)
    reporter.send(cur_load=5.0)
    world.clock.advance(2)
    reporter.send(cur_load=5.0)
    assert world.workers.calls["update"] == 1


def test_routers_are_told_at_once_when_a_worker_becomes_ready_or_leaves(world: HotWorld) -> None:
    world.add_worker(1)
    world.add_worker(2, state=WorkerState.MODEL_LOADING, loaded_at=0.0, perf=0.0)
    one, two = Reporter(world), Reporter(world, 2)
    one.send()
    assert n_routable(world) == 1
    two.send()
    assert n_routable(world) == 2
    one.send(error_msg="CUDA error")
    assert n_routable(world) == 1
    assert [e.facts["to"] for e in world.events.tail(f"endpoint:{ENDPOINT_ID}", limit=9)] == [
        "ready",
        "error",
    ]
    assert len(world.poke.pokes) == 2


def test_between_such_moments_the_view_is_rebuilt_once_a_second_by_whoever_comes_first(
    world: HotWorld,
) -> None:
    reporters = []
    for i in range(1, 11):
        world.add_worker(i)
        reporters.append(Reporter(world, i))
    for tick in range(50):
        for reporter in reporters:
            reporter.send(cur_load=float(tick))
        world.clock.advance(0.1)
    assert 5 <= world.views.calls["write"] <= 6


def test_two_functions_that_get_the_same_worker_do_not_lose_a_delta(world: HotWorld) -> None:
    """The second writer sees the first one's row, and adds to it."""
    world.add_worker(1)
    reporter = Reporter(world)

    class Racing(type(world.workers)):  # type: ignore[misc]
        """Slips another report in between the first read and its write."""

        raced = False

        def update(self, *args: object, **kwargs: object) -> object:
            if not Racing.raced:
                Racing.raced = True
                Reporter(world).send(new_load=10.0, num_requests_recieved=1)
            return super().update(*args, **kwargs)

    racing = Racing()
    racing.rows = world.workers.rows
    world.workers = racing
    reporter.send(new_load=5.0, num_requests_recieved=2)
    assert world.workers.rows[ENDPOINT_ID, 1].received_load == 15


def test_trouble_at_the_database_reaches_the_worker_which_repeats_itself(world: HotWorld) -> None:
    world.add_worker(1)
    world.workers.failure = StorageUnavailableError("throttled")
    with pytest.raises(StorageUnavailableError):
        Reporter(world).send()


def test_finished_requests_are_taken_from_our_workers_only(world: HotWorld) -> None:
    world.add_worker(1)
    reporter = Reporter(world)
    for token, is_known in ((reporter.token, True), ("junk", False)):
        body = {"worker_id": 1, "mtoken": token, "requests": [{"request_idx": 5}]}
        report = FinishedReport.from_json(json.dumps(body))
        assert receive_finished(world.ports(), reporter.memory, report, "") is is_known
