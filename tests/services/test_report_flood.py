"""A flood of reports leaves routing as it is: no more writes, reads or rebuilds than before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.model.lifecycle import TELL_EVERY_S, TOLD_AT_ONCE, moments_corrected
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.routing.memory import VIEW_CACHE_S
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld
from tests.services.reporter import Reporter
from tests.services.router import Router, make_world, see

N_WORKERS = 20
SECONDS = 3
PER_WORKER_S = 50  # reports of each worker in a second, forty times what is usual
GRANTS_EVERY = 100  # reports


def flooded(world: HotWorld, reporters: list[Reporter]) -> int:
    """Send the flood, with a grant now and then; gives the number of grants."""
    router, n_grants = Router(world), 0
    for n in range(SECONDS * PER_WORKER_S * N_WORKERS):
        world.clock.advance(1 / (PER_WORKER_S * N_WORKERS))
        reporters[n % N_WORKERS].send(num_requests_recieved=n)
        if n % GRANTS_EVERY == 0:
            n_grants += "url" in router.ask(cost=1.0)
    return n_grants


def fleet() -> HotWorld:
    world = make_world()
    for i in range(1, N_WORKERS + 1):
        world.add_worker(i)
    see(world)
    return world


def test_every_request_is_granted_by_one_write_amid_a_flood_of_news() -> None:
    world = fleet()
    reporters = [Reporter(world, i) for i in range(1, N_WORKERS + 1)]
    n_grants = flooded(world, reporters)
    n_asked = SECONDS * PER_WORKER_S * N_WORKERS / GRANTS_EVERY
    assert n_grants == n_asked == world.workers.calls["reserve"]
    assert world.views.calls["read"] <= SECONDS / VIEW_CACHE_S + 1
    assert world.views.calls["write"] <= SECONDS + 2  # rebuilds: one a second under the lease


def test_a_flood_of_duplicates_and_of_strangers_writes_nothing() -> None:
    world = fleet()
    reporter = Reporter(world)
    for _ in range(500):
        reporter.send()
        reporter.send(token="junk")
    assert world.workers.calls["update"] == 1
    assert world.workers.calls["find"] == 500  # strangers cost no read
    assert world.views.calls["write"] <= 2


def test_a_worker_that_fails_and_recovers_all_the_time_does_not_rebuild_the_view_each_time() -> (
    None
):
    world = fleet()
    reporter = Reporter(world)
    before = world.views.calls["write"]
    for n in range(300):
        world.clock.advance(0.01)
        reporter.send(num_requests_recieved=n, error_msg="out of memory" if n % 2 else "")
    assert world.workers.calls["update"] == 300
    assert world.views.calls["write"] - before <= 3 + 2
    assert len(world.poke.pokes) <= 3 + 2
    assert world.workers.rows[ENDPOINT_ID, 1].n_received == 299


@pytest.mark.parametrize("how", [{"error_msg": "out of memory"}, {"max_perf": 0.0}])
@pytest.mark.parametrize("n_functions", [1, 5])
def test_a_worker_that_fails_and_recovers_does_not_bury_the_log(
    n_functions: int, how: dict[str, object]
) -> None:
    """359 reports in 12 s left 358 events, kept for 400 days; here 30 reports a second for 2 min.

    Rounds of the scaler, which correct moments of a wrong clock, gave it a new budget each time.
    What another worker has to tell is told at once.
    """
    world = fleet()
    floods = [Reporter(world) for _ in range(n_functions)]
    for n in range(30 * 120):
        world.clock.advance(1 / 30)
        said = how if n // n_functions % 2 else {"error_msg": "", "max_perf": 100.0}
        floods[n % n_functions].send(None, "", num_requests_recieved=n, **said)
        if n % 30 == 0:
            row = world.workers.rows[ENDPOINT_ID, 1]
            corrected = moments_corrected(row, world.clock.now())
            world.workers.rows[ENDPOINT_ID, 1] = replace(row, **corrected)  # type: ignore[arg-type]
    assert len(world.events.events) <= TOLD_AT_ONCE + 1 + 120 / TELL_EVERY_S
    other = Reporter(world, 2)
    other.send(error_msg="CUDA error")
    world.clock.advance(1)
    other.send(error_msg="")
    assert [event.actor for event in world.events.events[-2:]] == ["worker:2"] * 2


def test_a_workers_whole_life_is_told() -> None:
    world = make_world()
    world.add_worker(1, state=WorkerState.MODEL_LOADING, perf=0.0, loaded_at=0.0)
    reporter = Reporter(world)
    for i, error in enumerate(("", "CUDA error", "", "full disk", "")):
        world.clock.advance(20)
        reporter.send(num_requests_recieved=i, error_msg=error)
    told = [event.facts["to"] for event in world.events.events]
    assert told == ["ready", "error", "ready", "error", "ready"]
