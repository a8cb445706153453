"""View writes follow change, not the clock: an idle fleet's reports keep it alive, and no more."""

from __future__ import annotations

from chalicelib.core.routing.packed_view import unpack_view
from chalicelib.services.routing.reports import ReportsMemory
from fakes.bundles.hot_ports import ENDPOINT_ID, HotWorld
from tests.services.reporter import Reporter
from tests.services.router import make_world

N_WORKERS = 20


def a_fleet() -> tuple[HotWorld, list[Reporter]]:
    """Workers that report to one container of the reports function, and have done so."""
    world, memory = make_world(), ReportsMemory()
    reporters = []
    for i in range(1, N_WORKERS + 1):
        world.add_worker(i)
        reporters.append(Reporter(world, i))
        reporters[-1].memory = memory
    play(world, reporters, seconds=20)
    return world, reporters


def play(world: HotWorld, reporters: list[Reporter], seconds: int) -> int:
    """Each reports every ten seconds, in turn; how many views were written."""
    before = world.views.calls["write"]
    for second in range(seconds):
        world.clock.advance(1.0)
        for i, reporter in enumerate(reporters):
            if i % 10 == second % 10:
                reporter.send(num_requests_recieved=0)
    return world.views.calls["write"] - before


def test_an_idle_fleet_costs_a_write_in_ten_seconds() -> None:
    world, reporters = a_fleet()
    assert 9 <= play(world, reporters, seconds=100) <= 10


def test_a_change_is_shown_within_a_second_and_the_last_one_is_not_forgotten() -> None:
    """Two changes half a second apart: the second has to wait for its turn, and gets it."""
    world, (one, two, third, *_) = a_fleet()
    world.clock.advance(1.0)
    one.send(cur_load=50.0, num_requests_working=1, num_requests_recieved=1)
    world.clock.advance(0.5)
    two.send(cur_load=70.0, num_requests_working=1, num_requests_recieved=1)
    world.clock.advance(0.6)
    third.send(num_requests_recieved=0)  # tells nothing itself
    view = unpack_view(world.views.views[ENDPOINT_ID, 0].blob)
    now = world.clock.now()
    is_busy = {worker.instance_id: worker.free_at > now for worker in view.workers}
    assert (is_busy[1], is_busy[2], is_busy[3]) == (True, True, False)
