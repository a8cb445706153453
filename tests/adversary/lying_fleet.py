"""A fleet in virtual time in which each machine does the work that it is granted, and one lies.

Scaler, routers and reports are the real ones, over the fakes. Each second the clients ask, the
machines work and report, and every fifth second the scaler decides. What the liar reports is what
is true of it, changed by its lie: it serves as the others do.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.services.rounds.loop import scaling_loop
from fakes.worlds.world import PERF, REQUEST_COST, World
from tests.faults.stories import count_calls, in_state, run_rounds

SLOTS = 4
ROUND_S = 5

Told = Mapping[str, object]
Lie = Callable[[Told], Told]
"""What it reports instead, from what is true."""


@dataclass
class Outcome:
    """What became of honest machines, and what was done, since the first lie."""

    lost: set[int] = field(default_factory=set)
    n_rented: int = 0
    n_started: int = 0
    granted: dict[int, float] = field(default_factory=dict)

    def share(self, instance_id: int) -> float:
        """Of the load that was granted, what went to this machine."""
        return self.granted.get(instance_id, 0.0) / max(1.0, sum(self.granted.values()))


class LyingFleet:
    """`n` machines of one type and price, of which the first one lies later.

    `floor`: min_load, and `load`: what is asked for, of what one serves and of what all serve.
    """

    def __init__(self, n: int, floor: float, load: float, *, seed: int = 4) -> None:
        self.world = World(seed=seed, keeps_router=True)
        group = self.world.add_group(min_load=95.0 * n, max_workers=n + 6, cold_workers=0)
        self.endpoint_id = group.endpoint_id
        run_rounds(self.world, 40)
        self.floor = floor
        self.load = load
        self.dice = random.Random(seed)
        self.backlog: dict[int, float] = {}
        self.seen: dict[int, float] = {}
        self.ready = in_state(self.world, WorkerState.READY)
        self.liar, *self.honest = self.ready
        self.second_n = 0
        self.speeds: dict[int, float] = {}  # of a machine that is slower than it says

    def set_floor(self) -> None:
        """The floor of the game; before, one that all of them are ready for."""
        groups = self.world.owner_ports.groups
        group = groups.find_group(self.endpoint_id)
        assert group is not None
        params = replace(group.params, min_load=self.floor * PERF)
        groups.put_group(replace(group, params=params), expected_revision=group.revision)

    def second(self, lie: Lie | None) -> None:
        """A second of work, in which the clients ask and everybody reports."""
        world = self.world
        rate = self.load * PERF * len(self.ready) / REQUEST_COST
        n = 0
        left = self.dice.expovariate(rate)
        while left < 1.0:
            n, left = n + 1, left + self.dice.expovariate(rate)
        world.clock.advance(1.0)
        world.market.advance(world.now)
        self._work()
        for instance_id, process in world.processes.items():
            process.lie = {}
            process.seq = min(process.seq, int(world.now) - 10)
            truth = self.truth(instance_id)
            if lie is not None and truth and instance_id == self.liar:
                process.lie = lie(truth)
        world.report_workers()
        for key, row in world.workers.rows.items():  # none is cheaper
            world.workers.rows[key] = replace(row, usd_per_hour=0.4)
        world.ask(self.endpoint_id, n, REQUEST_COST)
        self.second_n += 1
        if self.second_n % ROUND_S == 0:
            scaling_loop(world.ports, deadline_at=world.now + 1)

    def truth(self, instance_id: int) -> dict[str, object]:
        """What an honest report of it says."""
        process = self.world.processes[instance_id]
        rows = self.world.workers.rows.values()
        row = next((row for row in rows if row.instance_id == instance_id), None)
        if row is None:
            return {}  # given back
        received = row.granted_load
        return {
            "max_perf": PERF,
            "slots": SLOTS,
            "num_requests_working": process.n_working,
            "cur_load": process.working_load,
            "received_load": received,
            "finished_load": max(0.0, received - process.working_load),
            "num_requests_recieved": row.reqnum,
            "n_served": max(0, row.reqnum - process.n_working),
        }

    def _work(self) -> None:
        for row in self.world.workers.rows.values():
            i = row.instance_id
            process = self.world.processes.get(i)
            if process is None:
                continue
            came = row.granted_load - self.seen.get(i, 0.0)
            self.seen[i] = row.granted_load
            left = self.backlog.get(i, 0.0) + came
            at_work = min(SLOTS, math.ceil(left / REQUEST_COST))
            left = max(0.0, left - PERF * self.speeds.get(i, 1.0) * at_work / SLOTS)
            self.backlog[i] = left
            process.n_working = math.ceil(left / REQUEST_COST)
            process.working_load = left

    def play(self, lie: Lie | None, *, warm_s: int = 60, lied_s: int = 150) -> Outcome:
        """A while of honest work, then the floor and the lie."""
        for _ in range(warm_s):
            self.second(None)
        self.set_floor()
        out = Outcome()
        before = count_calls(self.world, Verb.CREATE), count_calls(self.world, Verb.START)
        granted = {r.instance_id: r.granted_load for r in self.world.workers.rows.values()}
        for _ in range(lied_s):
            self.second(lie)
            out.lost |= set(self.honest) - set(in_state(self.world, WorkerState.READY))
        out.n_rented = count_calls(self.world, Verb.CREATE) - before[0]
        out.n_started = count_calls(self.world, Verb.START) - before[1]
        out.granted = {
            r.instance_id: r.granted_load - granted.get(r.instance_id, 0.0)
            for r in self.world.workers.rows.values()
        }
        return out
