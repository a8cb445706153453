"""One tenant's flood beside another's steady load: weighted fair shares, in virtual time."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

import pytest

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.services.keys import issue_key, worker_token
from chalicelib.services.routing.reports import (
    ReportsMemory,
    receive_finished,
    receive_report,
)
from chalicelib.services.routing.views import rebuild_view
from chalicelib.wire.reports import FinishedReport, WorkerReport
from fakes.bundles.hot_ports import ENDPOINT_ID, ENDPOINT_NAME, INTENT_TOKEN
from tests.services.crowd import Caller, Crowd
from tests.services.router import make_world

SPEED = 100.0
N_WORKERS = 2
MEAN_COST = 30.0
FLOOD_AT_S, ENDS_AT_S = 30.0, 90.0
SETTLED_S = 10.0  # after which the flood is seen in the view
PATIENCE_S = 30.0
SEQ = 1_800_000_000_000
STEADY_LOAD = 0.3
SEEDS = range(5)


class Town:
    """A fleet that two tenants share; each second it reports its load and what it finished."""

    def __init__(self, seed: int) -> None:
        self.world, self.rng = make_world(reads_tickets=False), random.Random(seed)
        for i in range(1, N_WORKERS + 1):
            self.world.add_worker(i, ticket=TicketGeneration.D, boot_id=f"{i:016x}", perf=SPEED)
        rebuild_view(self.world.ports(), ENDPOINT_ID, self.world.clock.now())
        ports = self.world.ports()
        self.crowd = Crowd(ports, self.world.clock, ENDPOINT_NAME, n_routers=3, speed=SPEED)
        self.began_at = self.world.clock.now()
        self._memory, self._n_reports = ReportsMemory(), 0
        self._n_told = dict.fromkeys(range(1, N_WORKERS + 1), 0)  # of what it finished, by worker

    def tenant(self, name: str) -> str:
        """A key of its own."""
        key, _ = issue_key(self.world.ports(), name=name, verbs=("route",), endpoint_id=ENDPOINT_ID)
        return key

    def send(self, key: str, load: float, since_s: float) -> None:
        """Requests at a share of the fleet's capacity until the end, by clients that give up."""
        at = self.began_at + since_s
        if not load:
            return
        rate = load * SPEED * N_WORKERS / MEAN_COST
        while (at := at + self.rng.expovariate(rate)) < self.began_at + ENDS_AT_S:
            cost = MEAN_COST * self.rng.lognormvariate(-0.125, 0.5)
            self.crowd.add(Caller(key, cost, asked_at=at, leaves_at=at + PATIENCE_S))

    def run(self) -> None:
        """Until the end."""
        while self.world.clock.now() < self.began_at + ENDS_AT_S:
            self.step()

    def step(self) -> None:
        """One second."""
        self.crowd.run(1.0)
        self._n_reports += 1
        for i in range(1, N_WORKERS + 1):
            self._report(i)
        for i in range(1, N_WORKERS + 1):
            self._tell_finished(i)

    def _tell_finished(self, i: int) -> None:
        url, now = self.world.workers.rows[ENDPOINT_ID, i].url, self.world.clock.now()
        served = self.crowd.served.get(url, [])[self._n_told[i] :]
        done = [c for c in served if c.starts_at + c.cost / SPEED <= now]
        self._n_told[i] += len(done)
        intent = INTENT_TOKEN.format(instance_id=i)
        requests = [{"request_idx": c.idx, "status": "Success", "used": c.cost} for c in done]
        body = {
            "worker_id": i,
            "mtoken": worker_token(self.world.secrets, ENDPOINT_ID, intent),
            "requests": requests,
        }
        if requests:
            report = FinishedReport.from_json(json.dumps(body))
            assert receive_finished(self.world.ports(), self._memory, report, "")

    def _report(self, i: int) -> None:
        url, now = self.world.workers.rows[ENDPOINT_ID, i].url, self.world.clock.now()
        received = sum(caller.cost for caller in self.crowd.served.get(url, ()))
        left = SPEED * max(0.0, self.crowd.free_at.get(url, 0.0) - now)
        intent = INTENT_TOKEN.format(instance_id=i)
        body = {
            "id": i,
            "mtoken": worker_token(self.world.secrets, ENDPOINT_ID, intent),
            "ticket": "D",
            "boot_id": f"{i:016x}",
            "seq": SEQ + self._n_reports,
            "max_perf": SPEED,
            "cur_load": left,
            "num_requests_working": int(left > 0),
            "num_requests_recieved": len(self.crowd.served.get(url, ())),
            "received_load": received,
            "finished_load": received - left,
        }
        report = WorkerReport.from_json(json.dumps(body))
        receive_report(self.world.ports(), self._memory, report, "")

    def waits_s(self, key: str) -> list[float]:
        """Until the start at a worker, of what the tenant asked while the flood was on."""
        since, until = self._watched()
        return [c.wait_s for c in self.crowd.callers if c.key == key and since < c.asked_at < until]

    def used(self) -> float:
        """The share of the capacity that was used meanwhile."""
        since, until = self._watched()
        served_s = (
            min(until, c.starts_at + c.cost / SPEED) - max(since, c.starts_at)
            for c in self.crowd.callers
        )
        return sum(max(0.0, s) for s in served_s) / (until - since) / N_WORKERS

    def _watched(self) -> tuple[float, float]:
        since = self.began_at + FLOOD_AT_S + SETTLED_S
        return since, self.began_at + ENDS_AT_S - SETTLED_S


@dataclass(frozen=True)
class Outcome:
    """p95 waits in seconds over all seeds, and the share of the capacity that was used."""

    steady_s: float
    other_s: float
    used: float


def play(*, other_load: float, flood_load: float) -> Outcome:
    """A steady tenant with 0.3 of the capacity, and another that may flood."""
    steady_s, other_s, used = list[float](), list[float](), 0.0
    for seed in SEEDS:
        town = Town(seed)
        steady, other = town.tenant("steady"), town.tenant("other")
        town.send(steady, STEADY_LOAD, 0.0)
        town.send(other, other_load, 0.0)
        town.send(other, flood_load, FLOOD_AT_S)
        town.run()
        steady_s += town.waits_s(steady)
        other_s += town.waits_s(other)
        used += town.used() / len(SEEDS)
    return Outcome(p95(steady_s), p95(other_s), used)


def p95(waits_s: list[float]) -> float:
    """Of 20, one waits longer."""
    return sorted(waits_s)[int(0.95 * len(waits_s))]


@pytest.mark.parametrize("other_load", [0.3, 0.6], ids=["40 % idle before", "10 % idle before"])
def test_a_flood_by_one_tenant_hardly_moves_the_waits_of_another(other_load: float) -> None:
    """The other tenant comes to ask for 2.5 times the capacity."""
    calm = play(other_load=other_load, flood_load=0.0)
    flood = play(other_load=other_load, flood_load=2.5 - other_load)
    assert flood.steady_s < 1.25 * calm.steady_s
    assert flood.other_s > 2 * flood.steady_s
    assert flood.used > 0.75  # what is left free for others is little


def test_a_flood_alone_loses_nothing() -> None:
    """Without another tenant there is nobody to leave anything to."""
    town = Town(SEEDS[0])
    town.send(town.tenant("other"), 3.0, FLOOD_AT_S)
    town.run()
    assert town.used() > 0.98
