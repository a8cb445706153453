"""The whole scaling service at work on the simulated world, over the fakes, in virtual time.

`ballast/simulator/ours.py` hands the decision a snapshot and carries out its plan at once. Here
each round is the service's own: the lease, worker rows that reports and grants write, intents,
caps, and the pacing of its calls. The requests, machines and the bill are the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ballast.simulator.world.dispatch import LatePolling
from ballast.simulator.world.machine import Life, Machine
from ballast.simulator.world.whole_market import EPOCH_AT, TEMPLATE_HASH, SimulatedMarketplace
from ballast.simulator.world.world import World
from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.core.model.load import WaitingRequest
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState
from chalicelib.core.money.account import Account
from chalicelib.ports.bundles import ScalerPorts
from chalicelib.ports.worker_repository import Grant, Refusal
from chalicelib.services.rounds.loop import LEASE_S
from chalicelib.services.rounds.round import run_round
from chalicelib.services.routing.reports import ReportsMemory, receive_report
from fakes.bundles.scaler_ports import fake_scaler_ports
from fakes.ports.clock import ManualClock
from fakes.ports.ledger import FakeLedger
from fakes.ports.waiting import FakeWaitingRepository
from fakes.worlds.worker_program import WorkerProgram

REPORT_S = 10.0  # a worker whose work does not change reports so often
SCHEDULE_S = 60.0  # between rounds while nothing moves and nobody waits
GROUP_ID = 1
NO_CAP_USD = 1e6  # the simulated owner's caps are far away


class WholeWorld(World):
    """A world that tells the service of each grant."""

    def bind(self, request: int, machine: Machine, now: float) -> float:
        """Give a request to a machine, and book it on the machine's row."""
        end = World.bind(self, request, machine, now)
        if isinstance(self.policy, WholeService):
            is_late = self.waits[request] > self.slo_wait_s
            self.policy.book(self, machine, Grant(cost=self.trace.loads[request], is_late=is_late))
        return end


@dataclass(slots=True)
class WholeService:
    """A policy: the scaling service's rounds."""

    world_kind: ClassVar[type[World]] = WholeWorld

    params: ScalingParams
    test_workers: int = 3
    clock: ManualClock = field(default_factory=lambda: ManualClock(EPOCH_AT))
    waiting: FakeWaitingRepository = field(default_factory=FakeWaitingRepository)
    market: SimulatedMarketplace = field(init=False)
    ports: ScalerPorts = field(init=False)
    _programs: dict[int, WorkerProgram] = field(default_factory=dict)
    _reported_at: dict[int, float] = field(default_factory=dict)
    _memory: ReportsMemory = field(default_factory=ReportsMemory)
    _idle_until: float = 0.0

    def __post_init__(self) -> None:
        """An account with one group and one autogroup."""
        self.market = SimulatedMarketplace(self.clock)
        ledger = FakeLedger(Account())
        ledger.set_public_url("https://ballast.example")
        caps = ("hour", "day", "month")
        ledger.set_caps({f"caps_microusd_per_{period}": int(NO_CAP_USD * 1e6) for period in caps})
        ledger.set_caps({"caps_idle_microusd_per_day": int(NO_CAP_USD * 1e6)})
        self.ports = fake_scaler_ports(self.clock, self.market, ledger=ledger, waiting=self.waiting)
        self.ports.groups.add_group(
            EndpointGroup(
                endpoint_id=GROUP_ID, name="simulated", created_at=EPOCH_AT, params=self.params
            )
        )
        self.ports.groups.add_autogroup(
            Autogroup(
                autogroup_id=1,
                endpoint_id=GROUP_ID,
                created_at=EPOCH_AT,
                template_hash=TEMPLATE_HASH,
                test_workers=self.test_workers,
            )
        )

    def round(self, world: World, now: float) -> None:
        """One round of the service, unless it still waits for its turns or nothing moves."""
        self.market.world = world
        if now + EPOCH_AT < self.clock.now():
            return
        self._set_clock(now)
        self._report_workers(world)
        self._list_waiting(world)
        if now < self._idle_until and not world.dispatcher.n_waiting:
            return
        lease = self.ports.ledger.take_lease("simulator", self.clock.now(), LEASE_S)
        if lease is None:
            return
        outcome = run_round(self.ports, lease.fence, lease.account)
        self.ports.ledger.release_lease(lease.fence)
        self._idle_until = now if outcome.is_busy else now + SCHEDULE_S
        self._route(world)

    def book(self, world: World, machine: Machine, grant: Grant) -> None:
        """The router's reservation; a worker that has just come up reports before."""
        self._set_clock(world.now)
        workers = self.ports.workers
        if isinstance(workers.reserve(GROUP_ID, machine.number, grant), Refusal):
            self._report(machine, world)
            workers.reserve(GROUP_ID, machine.number, grant)

    def _set_clock(self, now: float) -> None:
        self.clock.advance(max(0.0, now + EPOCH_AT - self.clock.now()))

    def _report_workers(self, world: World) -> None:
        for machine in world.machines.values():
            if machine.life not in (Life.READY, Life.DRAINING):
                self._programs.pop(machine.number, None)
            elif self._has_news(machine, world.now):
                self._report(machine, world)

    def _has_news(self, machine: Machine, now: float) -> bool:
        """A worker reports when its work changes, and otherwise every ten seconds."""
        program = self._programs.get(machine.number)
        if program is None or program.n_working != len(machine.in_flight):
            return True
        return now - self._reported_at[machine.number] >= REPORT_S

    def _report(self, machine: Machine, world: World) -> None:
        number = machine.number
        program = self._programs.get(number)
        if program is None:
            boot_id = f"{number:08x}{machine.epoch:08x}"
            program = WorkerProgram(boot_id=boot_id, slots=machine.n_slots)
            self._programs[number] = program
        program.seq += 1
        program.n_working = len(machine.in_flight)
        program.working_load = sum(world.trace.loads[request] for request in machine.in_flight)
        report = program.report(
            number, self.market.token_of(number), max_perf=machine.perf, row=self._row(number)
        )
        receive_report(self.ports, self._memory, report, "")
        self._reported_at[number] = world.now

    def _row(self, number: int) -> Worker | None:
        return self.ports.workers.find(GROUP_ID, number)

    def _list_waiting(self, world: World) -> None:
        """What the router wrote of those who wait: they poll every few seconds."""
        dispatcher = world.dispatcher
        if not isinstance(dispatcher, LatePolling):
            raise TypeError("the whole service routes with clients that poll")
        self.waiting.rows = {
            (GROUP_ID, request): WaitingRequest(
                endpoint_id=GROUP_ID,
                request_idx=request,
                cost=world.trace.loads[request],
                first_seen_at=EPOCH_AT + world.trace.times[request],
                last_polled_at=self.clock.now(),
            )
            for request in dispatcher.queued
        }

    def _route(self, world: World) -> None:
        """The router follows the rows: what drains gets nothing new."""
        for row in self.ports.workers.list(GROUP_ID):
            machine = world.machines.get(row.instance_id)
            if machine is None:
                continue
            if row.state is WorkerState.DRAINING and machine.life is Life.READY:
                left_s = (row.drain_by or self.clock.now()) - self.clock.now()
                ends = row.after_drain is AfterDrain.DESTROY
                world.drain(machine, then_destroy=ends, deadline_s=left_s)
            elif row.state is WorkerState.READY and machine.life is Life.DRAINING:
                world.recall(machine)
