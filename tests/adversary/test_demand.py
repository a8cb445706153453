"""A holder of a route key: no stated cost, used or not, makes demand beyond what is vouched for.

The real router, reports and rounds over the pretend market: `/route/` is asked as a client would.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.usage import ENOUGH
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.keys import endpoint_key
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import route
from chalicelib.services.routing.views import publish_directory, rebuild_view
from chalicelib.wire.routing import RouteRequest
from fakes.worlds.world import World
from tests.faults.stories import count_calls, in_state, run_rounds

HUGE, TYPICAL = 1e9, 100.0
HOLD_ROUNDS = 140  # of 15 s: the longest hold is 30 minutes, and five minutes to drain and stop


@dataclass
class Attack:
    """A group with one ready worker, and somebody who holds its route-only key."""

    params: dict[str, object] = field(default_factory=dict)
    slots: int = 4
    n_finished: int = 0

    def __post_init__(self) -> None:
        self.world = World(seed=3)
        values: dict[str, object] = {"min_load": 50.0, "max_workers": 12, "cold_workers": 0}
        self.group = self.world.add_group("llm", **{**values, **self.params})
        publish_directory(self.world.ports)
        self.memory = RouterMemory()
        run_rounds(self.world, 12)
        for process in self.world.processes.values():
            process.slots = self.slots
        run_rounds(self.world, 4)
        assert in_state(self.world, WorkerState.READY)
        self.begun = self.n_moved()

    def learn(self) -> None:
        """Typical requests are served, so that the group knows what they use."""
        while self.n_finished < ENOUGH + 4:
            for _ in range(self.slots or 1):
                reply = self.ask(TYPICAL, is_used=True)
                if "url" in reply:
                    self.finish(reply, TYPICAL)
            run_rounds(self.world, 1)
        run_rounds(self.world, HOLD_ROUNDS)
        self.begun = self.n_moved()

    def n_moved(self) -> int:
        """Machines started or rented so far."""
        return count_calls(self.world, Verb.CREATE) + count_calls(self.world, Verb.START)

    def ask(self, cost: float, *, is_used: bool, at_route: str = "") -> dict[str, object]:
        rebuild_view(self.world.ports, self.group.endpoint_id, self.world.now)
        key = endpoint_key(self.world.ports.secrets, self.group.endpoint_id, 1)
        request = RouteRequest(
            endpoint="llm",
            endpoint_id=None,
            api_key=key,
            cost=cost,
            request_idx=0,
            route=at_route,
        )
        reply = route(self.world.ports, self.memory, request)
        worker = self.world.workers.rows.get((self.group.endpoint_id, self._worker(reply)))
        if worker is not None and not is_used:
            cost_counted = reply["cost"]
            assert isinstance(cost_counted, int | float)
            self.world.processes[worker.instance_id].unused += cost_counted
        return reply

    def finish(self, reply: dict[str, object], used: float, at_route: str = "/generate") -> None:
        idx = reply["request_idx"]
        assert isinstance(idx, int)
        self.world.finish(self._worker(reply), idx, used, at_route)
        self.n_finished += 1

    def _worker(self, reply: dict[str, object]) -> int:
        rows = self.world.workers.rows.values()
        return next((row.instance_id for row in rows if row.url == reply.get("url")), 0)

    def moved_by(self, n: int, cost: float, *, is_used: bool) -> int:
        """Machines started or rented within the hold after n requests at once."""
        for _ in range(n):
            self.ask(cost, is_used=is_used)
        run_rounds(self.world, HOLD_ROUNDS)
        return self.n_moved() - self.begun


GROUPS: dict[str, tuple[dict[str, object], int]] = {
    "slots": ({}, 4),
    "slots, target_util": ({"target_util": 0.9}, 4),
    "no slots": ({}, 0),
    "no slots, target_util": ({"target_util": 0.5}, 0),
}


@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("name", GROUPS)
def test_one_request_of_any_cost_moves_one_machine_at_most_and_rests(
    name: str, is_used: bool
) -> None:
    params, slots = GROUPS[name]
    attack = Attack(params, slots)
    before = len(in_state(attack.world, WorkerState.READY))
    assert attack.moved_by(1, HUGE, is_used=is_used) <= 1
    assert len(in_state(attack.world, WorkerState.READY)) <= before


@pytest.mark.parametrize("name", ["slots, target_util", "no slots"])
def test_many_requests_of_any_cost_move_no_more_than_typical_ones(name: str) -> None:
    params, slots = GROUPS[name]
    moved = {}
    for cost in (TYPICAL, HUGE):
        attack = Attack(params, slots)
        attack.learn()
        moved[cost] = attack.moved_by(12, cost, is_used=cost == TYPICAL)
    assert moved[HUGE] <= moved[TYPICAL]


def test_an_unused_tickets_demand_is_gone_when_it_expires() -> None:
    """One of 1e9 without a call to the worker, as found: 11 machines wanted for hours."""
    attack = Attack({"target_util": 0.9, "max_workers": 12})
    attack.ask(HUGE, is_used=False)
    run_rounds(attack.world, 3)
    (row,) = [r for r in attack.world.workers.rows.values() if r.granted_load > 0]
    assert row.expired_load == row.granted_load <= 1_000.0
    run_rounds(attack.world, HOLD_ROUNDS)
    rows = list(attack.world.workers.rows.values())
    assert len(rows) <= 2


def test_an_ordinary_clients_cap_counts_as_what_it_used_from_then_on() -> None:
    """`max_tokens` 65,535 that generates 40: routing, waiting rows and the ticket say about 40."""
    attack = Attack()
    for _ in range(100):
        reply = attack.ask(65_535.0, is_used=True)
        if "url" in reply:
            attack.finish(reply, used=40.0)
        run_rounds(attack.world, 1)
        if attack.n_finished > ENOUGH:
            break
    run_rounds(attack.world, 1)
    assert attack.ask(65_535.0, is_used=True)["cost"] == pytest.approx(40.0, rel=0.01)


def test_one_stated_cost_is_corrected_at_each_route_that_the_worker_tells_of() -> None:
    """A chat with a cap of 65,535 that generates 40, and an embedding of 900 tokens beside it."""
    attack, used = Attack(), {"/v1/chat/completions": 40.0, "/v1/embeddings": 900.0}
    for _ in range(100):
        for at_route, load in used.items():
            reply = attack.ask(65_535.0, is_used=True, at_route=at_route)
            if "url" in reply:
                attack.finish(reply, load, at_route)
        run_rounds(attack.world, 1)
        if attack.n_finished > 3 * ENOUGH:
            break
    run_rounds(attack.world, 1)
    for at_route, load in used.items():
        cost = attack.ask(65_535.0, is_used=True, at_route=at_route)["cost"]
        assert cost == pytest.approx(load, rel=0.01)
