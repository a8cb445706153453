"""A thousand clients wake a group from zero at once: one decision, one rental, paced polls."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from statistics import mean

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.services.keys import endpoint_key
from chalicelib.services.rounds.loop import scaling_loop
from chalicelib.services.routing.views import publish_directory
from chalicelib.services.routing.waiting import POKE_EVERY_S
from fakes.worlds.world import World
from tests.services.crowd import Caller, Crowd

N_CLIENTS = 1_000
N_ROUTERS = 20
MAX_WORKERS = 4
STEP_S = 0.25
LOOP_S = 50.0
WATCHED_S = 300.0
MAX_POLLS_PER_S = 350
MEAN_POLLS_PER_S = 250


class Deployment:
    """Clients, workers and scaler in virtual time: each poke runs the scaler, as Lambda would."""

    def __init__(self) -> None:
        self.world = World()
        self.group = self.world.add_group(cold_workers=0, max_workers=MAX_WORKERS)
        groups = self.world.owner_ports.groups
        autogroup = replace(groups.list_autogroups()[0], test_workers=0, revision=2)
        groups.put_autogroup(autogroup, expected_revision=1)
        publish_directory(self.world.owner_ports)
        self.pokes = self.world.poke.pokes
        ports, name = self.world.owner_ports, self.group.name
        self.crowd = Crowd(ports, self.world.clock, name, n_routers=N_ROUTERS)
        self.world.clock.meanwhile = self.live
        self.loops: list[tuple[float, float, int]] = []  # (began at, ended at, rounds)
        self.began_at = self.world.now

    def start_counting(self) -> None:
        """Forget what was before."""
        self.began_at = self.world.now
        self.loops.clear()
        self.pokes.clear()
        self.crowd.n_polls.clear()

    def live(self, seconds: float) -> None:
        """Let time pass for everybody."""
        world, end = self.world, self.world.now + seconds
        while world.now < end:
            n_pokes = len(self.pokes)
            self.crowd.run(min(STEP_S, end - world.now))
            world.market.advance(world.now)
            world.report_workers()
            for _ in self.pokes[n_pokes:]:
                self.scale()

    def scale(self) -> None:
        """One invocation of the scaler."""
        began_at = self.world.now
        rounds = scaling_loop(self.world.ports, deadline_at=began_at + LOOP_S)
        self.loops.append((began_at, self.world.now, len(rounds)))


@pytest.fixture(scope="module")
def herd() -> Deployment:
    """The deployment minutes after a thousand clients asked an idle group within a second."""
    deployment = Deployment()
    deployment.scale()
    deployment.live(30.0)
    assert not deployment.world.market.instances
    deployment.start_counting()
    key = endpoint_key(deployment.world.owner_ports.secrets, deployment.group.endpoint_id, 1)
    for i in range(N_CLIENTS):
        at = deployment.began_at + i / N_CLIENTS
        deployment.crowd.add(Caller(key, 100.0, asked_at=at))
    deployment.live(WATCHED_S)
    return deployment


def test_the_first_request_is_decided_on_at_once_by_one_loop(herd: Deployment) -> None:
    """The poke runs a round within a step of the clock; all others find the lease taken."""
    creates = [call.at for call in herd.world.market.calls if call.verb is Verb.CREATE]
    assert creates[0] - herd.began_at <= STEP_S
    spans = sorted((began, ended) for began, ended, n_rounds in herd.loops if n_rounds)
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))
    assert any(not n_rounds for _, _, n_rounds in herd.loops)


def test_nothing_is_rented_twice(herd: Deployment) -> None:
    instances = herd.world.market.instances
    creates = [call for call in herd.world.market.calls if call.verb is Verb.CREATE]
    assert 1 <= len(creates) <= MAX_WORKERS
    assert len(instances) == len(creates) == len({i.label for i in instances.values()})
    assert {row.instance_id for row in herd.world.workers.rows.values()} == set(instances)


def test_each_client_is_granted_a_worker_exactly_once(herd: Deployment) -> None:
    assert all(caller.granted_at is not None for caller in herd.crowd.callers)
    assert sum(row.reqnum for row in herd.world.workers.rows.values()) == N_CLIENTS
    assert not herd.world.waiting.rows


def test_polls_and_pokes_are_paced(herd: Deployment) -> None:
    """Waiting clients ask every 4 s or so, and a router pokes once in 2 s."""
    polls = list(herd.crowd.n_polls.values())[1:]  # all asked in the first second
    assert max(polls) <= MAX_POLLS_PER_S
    assert mean(polls) <= MEAN_POLLS_PER_S
    assert len(herd.pokes) <= N_ROUTERS * (WATCHED_S / POKE_EVERY_S + 1)


def test_about_every_second_poll_refreshes_its_row(herd: Deployment) -> None:
    """Routers do not know what others wrote, and yet not each poll is a write."""
    n_polls = sum(herd.crowd.n_polls.values())
    assert herd.world.waiting.calls["put"] < N_CLIENTS + 0.6 * n_polls
