"""Waiting: late binding, repeats, dead workers, and trouble behind the route."""

from __future__ import annotations

import pytest

from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.errors import KeysUnavailableError, StorageUnavailableError
from chalicelib.services.keys import issue_key
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld, make_group
from tests.services.router import Router, make_world, see


@pytest.fixture
def world() -> HotWorld:
    return make_world()


def test_nobody_free_soon_enough_means_waiting_with_status_place_and_idx(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    replies = [router.ask(cost=300) for _ in range(3)]
    assert [("url" in reply) for reply in replies] == [True, True, False]
    waiting = replies[-1]
    assert "total workers: 1" in str(waiting["status"])
    assert waiting["place"] == 1
    assert 0 < float(str(waiting["poll_after_s"])) <= 7
    assert len(world.waiting.rows) == 1
    assert world.poke.pokes


def test_a_polled_request_keeps_its_idx_and_is_remembered_once(world: HotWorld) -> None:
    world.publish(make_group())
    router = Router(world)
    idx = router.idx(router.ask())
    for _ in range(10):
        world.clock.advance(1)
        assert router.idx(router.ask(idx)) == idx
    assert list(world.waiting.rows) == [(ENDPOINT_ID, idx)]
    assert world.waiting.calls["put"] <= 3


def test_a_client_that_gave_up_is_no_demand_after_twenty_seconds(world: HotWorld) -> None:
    router = Router(world)
    for _ in range(5):
        router.ask()
    world.clock.advance(1.5)
    see(world)
    assert router.ask()["place"] == 6
    world.clock.advance(21)
    see(world)
    assert router.ask()["place"] == 1


def test_a_waiting_request_is_granted_when_a_worker_comes_and_its_row_goes(
    world: HotWorld,
) -> None:
    router = Router(world)
    idx = router.idx(router.ask())
    world.add_worker(1)
    world.clock.advance(1.5)
    see(world)
    assert "url" in router.ask(idx)
    assert not world.waiting.rows


def test_one_shot_clients_are_bound_early_up_to_max_queue_time(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    granted = [("url" in router.ask(idx=None, cost=500)) for _ in range(9)]
    assert granted == [True] * 7 + [False] * 2  # 0, 5, ... 30 s of wait


def test_the_first_repeat_goes_elsewhere_at_once_and_the_second_waits(world: HotWorld) -> None:
    world.add_worker(1)
    world.add_worker(2)
    world.add_worker(3)
    see(world)
    router = Router(world)
    first = router.ask(cost=1)
    second = router.ask(router.idx(first), cost=1)
    third = router.ask(router.idx(second), cost=1)
    assert first["url"] != second["url"]
    assert "url" not in third
    fourth = router.ask(router.idx(third), cost=1)
    assert fourth["url"] != second["url"]
    rows = world.workers.rows.values()
    assert sum(row.granted_load for row in rows) == 3
    assert sum(row.retry_load for row in rows) == 2


def test_a_request_that_every_worker_fails_is_not_late_however_long_it_is_tried(
    world: HotWorld,
) -> None:
    """Ten that a model refused for ten minutes were 40 % late starts of an idle group."""
    for instance_id in (1, 2, 3):
        world.add_worker(instance_id)
    see(world)
    router = Router(world)
    idx, n_grants = 0, 0
    for _ in range(60):
        reply = router.ask(idx, cost=1)
        idx = router.idx(reply)
        n_grants += "url" in reply
        world.clock.advance(5)
        see(world)
    assert n_grants > 10
    assert sum(row.n_late for row in world.workers.rows.values()) == 0


def test_a_request_that_found_no_worker_in_time_starts_late_once(world: HotWorld) -> None:
    router = Router(world)
    idx = router.idx(router.ask(cost=1))
    for _ in range(20):
        world.clock.advance(5)
        idx = router.idx(router.ask(idx, cost=1))
    world.add_worker(1)
    world.add_worker(2)
    see(world)
    for _ in range(4):
        idx = router.idx(router.ask(idx, cost=1))
        world.clock.advance(5)
        see(world)
    assert sum(row.reqnum for row in world.workers.rows.values()) > 1
    assert sum(row.n_late for row in world.workers.rows.values()) == 1


def test_a_client_that_hammers_a_dead_worker_gets_few_grants(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    idx, n_grants = 0, 0
    for _ in range(20):
        reply = router.ask(idx, cost=1)
        idx = router.idx(reply)
        n_grants += "url" in reply
    assert n_grants == 1  # there is no other worker


def test_the_only_worker_serves_a_client_again_soon_after_it_failed_it(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    failed = router.ask(router.idx(router.ask(cost=1)), cost=1)
    assert "url" not in failed
    world.clock.advance(3.0)
    assert "url" in router.ask(router.idx(failed), cost=1)


def test_failures_under_one_key_leave_a_worker_ready_under_two_they_do_not(
    world: HotWorld,
) -> None:
    world.add_worker(1, unseen_load=1.0)
    see(world)
    router = Router(world)
    other_key, _ = issue_key(world.ports(), name="b", verbs=("route",), endpoint_id=ENDPOINT_ID)
    router.ask(cost=1, key=other_key)  # served: the other key has traffic here, and no complaint
    for _ in range(5):
        router.ask(router.idx(router.ask(cost=1)), cost=1)
    assert world.workers.rows[ENDPOINT_ID, 1].state is WorkerState.READY
    router.ask(router.idx(router.ask(cost=1, key=other_key)), cost=1, key=other_key)
    assert world.workers.rows[ENDPOINT_ID, 1].state is WorkerState.SUSPECT


def test_the_only_key_of_a_group_is_believed_after_four_failures_in_a_row(
    world: HotWorld,
) -> None:
    world.add_worker(1, unseen_load=1.0)
    world.add_worker(2)
    see(world)
    router = Router(world)
    for _ in range(3):
        asked = router.ask(cost=1)
        again = router.ask(router.idx(asked), cost=1)
        assert again.get("url") != asked.get("url"), "not to the one that just failed it"
    states = {row.state for row in world.workers.rows.values()}
    assert states == {WorkerState.READY}, "both failed it alike: nobody is blamed"
    alone = Router(world)
    world.workers.remove(ENDPOINT_ID, 2)
    see(world)
    for _ in range(4):
        alone.ask(alone.idx(alone.ask(cost=1)), cost=1)
    assert world.workers.rows[ENDPOINT_ID, 1].state is WorkerState.SUSPECT


@pytest.mark.parametrize("state", [GroupState.SUSPENDED, GroupState.STOPPED])
def test_a_stopped_group_answers_waiting_and_makes_no_demand(
    world: HotWorld, state: GroupState
) -> None:
    world.publish(make_group(state=state))
    world.add_worker(1)
    see(world)
    router = Router(world)
    reply = router.ask()
    assert f"endpoint {state.value}: its owner lets it serve nobody now" in str(reply["status"])
    assert "expected start" not in str(reply["status"]), "nobody knows, though a worker is ready"
    assert not {"place", "eta_s", "url"} & set(reply)
    assert float(str(reply["poll_after_s"])) > 3.0
    assert router.idx(router.ask(router.idx(reply))) == router.idx(reply), "it keeps its turn"
    assert not world.waiting.rows
    assert not world.poke.pokes
    world.publish(make_group())
    world.clock.advance(11)
    see(world)
    assert "url" in router.ask(router.idx(reply))


@pytest.mark.parametrize("broken", ["workers", "views", "waiting", "signer", "secrets"])
def test_transient_trouble_is_answered_waiting_with_an_idx(world: HotWorld, broken: str) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    error = (
        KeysUnavailableError("down")
        if broken in ("signer", "secrets")
        else StorageUnavailableError("throttled")
    )
    getattr(world, broken).failure = error
    if broken == "waiting":
        world.workers.rows.clear()
    reply = router.ask()
    assert "url" not in reply
    assert router.idx(reply)


def test_a_known_view_serves_on_while_views_cannot_be_read(world: HotWorld) -> None:
    world.add_worker(1)
    see(world)
    router = Router(world)
    router.ask(cost=1)
    world.views.failure = StorageUnavailableError("throttled")
    world.clock.advance(30)
    assert "url" in router.ask(cost=1)


def test_what_another_tenant_floods_is_not_ahead_of_a_key_within_its_share(
    world: HotWorld,
) -> None:
    """It is told when the next worker will be free, and asked back by then."""
    world.add_worker(1)
    see(world)
    ports, router = world.ports(), Router(world)
    flood, _ = issue_key(ports, name="flood", verbs=("route",), endpoint_id=ENDPOINT_ID)
    small, _ = issue_key(ports, name="small", verbs=("route",), endpoint_id=ENDPOINT_ID)
    for _ in range(40):
        router.ask(cost=100, key=flood)
    world.clock.advance(1.5)
    see(world)
    reply = router.ask(cost=100, key=small, is_paced=True)
    assert reply["place"] == 1
    assert 0 < float(str(reply["eta_s"])) < 10
    assert float(str(reply["poll_after_s"])) < 3
    behind = router.ask(cost=100, key=flood, is_paced=True)
    assert int(str(behind["place"])) > 30
    assert float(str(behind["eta_s"])) > 30


def test_who_takes_no_interruptible_worker_is_told_so_and_promised_no_time(
    world: HotWorld,
) -> None:
    """A worker that may be taken away is free; it is none for this request."""
    world.add_worker(1, is_bid=True)
    see(world)
    router = Router(world)
    reply = router.ask(insists=True)
    assert "no worker on demand serves" in str(reply["status"])
    assert "expected start: unknown" in str(reply["status"])
    assert "eta_s" not in reply
    (row,) = world.waiting.rows.values()
    assert row.needs_on_demand, "the scaler is told"
    assert "url" in router.ask(), "others are served"
    world.add_worker(2)
    world.clock.advance(11)
    see(world)
    assert "url" in router.ask(router.idx(reply), insists=True)


def test_who_takes_none_waits_for_those_on_demand_to_be_free(world: HotWorld) -> None:
    world.add_worker(1, is_bid=True)
    world.add_worker(2)
    see(world)
    router = Router(world)
    while "url" in (reply := router.ask(insists=True)):
        pass
    assert "no worker is free soon enough" in str(reply["status"])
    assert "eta_s" in reply
