"""C14: streams live through scale-down, a rolling update and its rollback; only a deadline cuts."""

from __future__ import annotations

import random
from dataclasses import replace

from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.worker import WorkerState
from chalicelib.ports.worker_repository import Grant
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import REQUEST_COST, World
from tests.faults.stories import all_events, params_of, set_group

N_STREAMS = 1_000
LONGEST_S = 400.0  # below the deadline of every drain


class Streams:
    """Streams of random length on workers that are ready; each occupies its worker to its end."""

    def __init__(self, world: World, group: EndpointGroup, seed: int = 0) -> None:
        self.world, self.group, self.dice = world, group, random.Random(seed)
        self.ends_at: dict[int, list[float]] = {}  # by instance id
        self.n_begun = self.n_done = self.n_cut = 0

    def begin(self, n: int, longest_s: float = LONGEST_S) -> None:
        ready = [r for r in self.world.workers.rows.values() if r.state is WorkerState.READY]
        for _ in range(n if ready else 0):
            # Where the fewest are, as a router fills free slots: more than a worker's slots at
            # work for minutes is no worker that could be (core/model/vouching.py).
            row = min(
                ready, key=lambda r: (len(self.ends_at.get(r.instance_id, ())), self.dice.random())
            )
            self.world.workers.reserve(row.endpoint_id, row.instance_id, Grant(cost=REQUEST_COST))
            end = self.world.now + self.dice.uniform(5.0, longest_s)
            self.ends_at.setdefault(row.instance_id, []).append(end)
            self.n_begun += 1
        self._occupy()

    def pass_time(self, seconds: float) -> None:
        """A round, then time; streams end, or are cut with their container."""
        scaling_loop(self.world.ports, deadline_at=self.world.now + 1)
        self.world.tick(seconds)
        for instance_id, ends in list(self.ends_at.items()):
            instance = self.world.market.instances.get(instance_id)
            running = [end for end in ends if end > self.world.now]
            self.n_done += len(ends) - len(running)
            if instance is None or instance.actual_status != "running":
                self.n_cut += len(running)
                running = []
            self.ends_at[instance_id] = running
        self._occupy()

    def _occupy(self) -> None:
        for instance_id, ends in self.ends_at.items():
            self.world.occupy(instance_id, len(ends), len(ends) * REQUEST_COST)


def _update(world: World, endpoint_id: int, *, by: int, lasts_s: float | None) -> None:
    """Begin (by=1), or roll back (by=-1), an update of the group's autogroup."""
    groups = world.owner_ports.groups
    before = groups.list_autogroups(endpoint_id)[0]
    after = replace(
        before,
        template_revision=before.template_revision + by,
        rollout_by=None if lasts_s is None else world.now + lasts_s,
        revision=before.revision + 1,
    )
    groups.put_autogroup(after, expected_revision=before.revision)
    world.publish()


def _begin(min_load: float) -> tuple[World, Streams]:
    world = World(seed=11)
    world.ledger.set_caps({"caps_microusd_per_hour": 100_000_000})
    group = world.add_group(min_load=min_load, max_workers=8, cold_workers=0)
    streams = Streams(world, group)
    for _ in range(20):
        streams.pass_time(15.0)
    return world, streams


def test_c14_a_thousand_streams_live_through_scale_down_update_and_rollback() -> None:
    world, streams = _begin(min_load=400.0)
    endpoint_id = streams.group.endpoint_id
    n_machines = len(world.market.instances)
    for n in range(N_STREAMS // 5):
        streams.begin(5)
        if n == 20:
            params = replace(params_of(world, endpoint_id), min_load=150.0)
            set_group(world, endpoint_id, params=params)
        if n == 60:
            _update(world, endpoint_id, by=1, lasts_s=36_000.0)
        if n == 100:
            _update(world, endpoint_id, by=1, lasts_s=36_000.0)  # the old template again
        streams.pass_time(15.0)
    for _ in range(60):
        streams.pass_time(15.0)
    assert streams.n_begun == N_STREAMS
    assert (streams.n_done, streams.n_cut) == (N_STREAMS, 0)
    assert len(world.market.bill(world.now).by_instance) > n_machines + 2, "workers were replaced"
    assert not [e for e in all_events(world) if e.facts.get("reason") == "drain_deadline"]


def test_c14_a_deadline_cuts_what_is_left_and_says_how_many() -> None:
    world, streams = _begin(min_load=200.0)
    streams.begin(6, longest_s=100_000.0)
    streams.ends_at = {key: [1e12] * len(ends) for key, ends in streams.ends_at.items()}
    streams.pass_time(15.0)
    _update(world, streams.group.endpoint_id, by=1, lasts_s=60.0)
    for _ in range(240):
        streams.pass_time(15.0)
    assert streams.n_cut == 6
    forced = [
        e.facts["reason"]["facts"]["n_cut"]  # type: ignore[index]
        for e in all_events(world)
        if e.kind == "decision" and "deadline" in e.message
    ]
    assert sum(forced) == 6
