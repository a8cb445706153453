"""Events that come twice, again, or late: no two loops at once, and nothing is rented for them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.services.rounds.loop import scaling_loop
from fakes.aws.events import AsyncQueue
from fakes.worlds.world import World

MINUTES = 15
LIMIT_S = 52.0  # of the function, less what its last round may take


@dataclass
class Scaler:
    """The scaler's function behind its queue; another event may start it while it works."""

    world: World
    queue: AsyncQueue
    concurrency: int = 10
    running: int = 0
    crashes: int = 0  # so many executions are killed as they begin
    overlaps: list[int] = field(default_factory=list)  # rounds of loops that met a running one

    def __post_init__(self) -> None:
        self.world.clock.meanwhile = self.pass_time

    def pass_time(self, seconds: float) -> None:
        """Also while a loop sleeps: what is due begins beside it."""
        ends_at = self.world.now + seconds
        while True:
            next_at = max(self.world.now, self.queue.next_at())
            if next_at > ends_at:
                break
            self.world.clock.advance(next_at - self.world.now)
            self.deliver()
        self.world.clock.advance(max(0.0, ends_at - self.world.now))
        self.world.market.advance(self.world.now)
        self.world.report_workers()

    def deliver(self) -> None:
        event = self.queue.due(self.world.now)
        if event is None:
            return
        if self.running >= self.concurrency:
            self.queue.throttled(event, self.world.now)
            return
        is_second = self.running > 0
        self.running += 1
        try:
            if self.crashes:
                self.crashes -= 1
                self.queue.failed(event, self.world.now)
                return
            figures = scaling_loop(self.ports(), deadline_at=self.world.now + LIMIT_S)
        finally:
            self.running -= 1
        if is_second:
            self.overlaps.append(len(figures))

    def ports(self) -> ScalerPorts:
        return self.world.ports


def play(queue: AsyncQueue, *, concurrency: int = 10, crashes: int = 0) -> tuple[World, Scaler]:
    """A quarter of an hour: clients wait, machines come, the schedule fires each minute."""
    world = World(seed=5)
    group = world.add_group(min_load=150.0, cold_workers=0)
    world.ask(group.endpoint_id, 3)
    scaler = Scaler(world, queue, concurrency=concurrency, crashes=crashes)
    for minute in range(MINUTES):
        queue.send(world.now + 60.0 * minute)
    scaler.pass_time(60.0 * MINUTES)
    return world, scaler


def creates(world: World) -> int:
    return sum(call.verb is Verb.CREATE for call in world.market.calls)


QUEUES = {
    "as it should": lambda: AsyncQueue(retries=0, max_age_s=60.0),
    "every event twice": lambda: AsyncQueue(retries=0, max_age_s=60.0, twice_share=1.0),
    "nobody configured it": lambda: AsyncQueue(twice_share=0.5),
}


@pytest.mark.parametrize("name", QUEUES)
def test_events_that_come_twice_start_no_second_loop_and_rent_nothing_more(name: str) -> None:
    calm, _ = play(QUEUES["as it should"]())
    world, scaler = play(QUEUES[name]())
    assert creates(calm) > 0
    assert creates(world) == creates(calm)
    assert len(world.workers.rows) == len(calm.workers.rows)
    if name == "as it should":
        assert not scaler.overlaps
    else:
        assert scaler.overlaps
        assert set(scaler.overlaps) == {0}  # the lease was held: not one round


def test_events_of_failed_executions_come_again_and_do_no_harm() -> None:
    calm, _ = play(QUEUES["as it should"]())
    queue = AsyncQueue()
    world, scaler = play(queue, crashes=3)
    assert queue.n_delivered > MINUTES
    assert set(scaler.overlaps) <= {0}
    assert creates(world) == creates(calm)


def test_events_that_waited_for_an_execution_come_late_and_do_no_harm() -> None:
    """The functions of a new account are throttled; a duplicate then queues behind the loop."""
    calm, _ = play(QUEUES["as it should"]())
    queue = AsyncQueue(twice_share=1.0)
    world, scaler = play(queue, concurrency=1)
    assert queue.n_delivered > 2 * MINUTES
    assert not scaler.overlaps
    assert creates(world) == creates(calm)
