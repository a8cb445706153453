"""A whole world in memory and in virtual time: the scaler's ports, a market with workers, clients.

The services that run in it are the real ones; the fakes are held to the real adapters by the
contract suites. `tick` lets time pass as the deployment would see it: workers report every ten
seconds, clients ask again, and the scaler runs its rounds when it is told to.
"""

from __future__ import annotations

import json
import random

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup, ScalingParams
from chalicelib.core.model.worker import Worker
from chalicelib.core.money.account import Account
from chalicelib.services.routing.reports import (
    ReportsMemory,
    receive_finished,
    receive_report,
)
from chalicelib.services.routing.views import publish_directory
from chalicelib.wire.reports import FinishedReport
from fakes.bundles.scaler_ports import fake_scaler_ports
from fakes.market.market import Market
from fakes.market.market_config import CALM, PROMPT, MarketConfig
from fakes.market.market_instance import MarketInstance
from fakes.ports.clock import ManualClock
from fakes.ports.event_log import FakeEventLog
from fakes.ports.ledger import FakeLedger
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.ports.secret_box import FakeSecretBox
from fakes.ports.waiting import FakeWaitingRepository
from fakes.ports.worker_repository import FakeWorkerRepository
from fakes.worlds.clients import Clients
from fakes.worlds.marketplace import FakeMarketplace
from fakes.worlds.worker_program import ProgramHosts, WorkerProgram

NOON = 1_800_014_400.0  # 2027-01-15 12:00 UTC
PERF = 100.0  # load per second of a worker whose relative_perf is 1
REQUEST_COST = 100.0
PROMPT_MARKET = MarketConfig(timings=PROMPT, odds=CALM, price_move_sigma=0.0)


class World:
    """See the module. `owner_ports` is the untouched way in, for tests that break `ports`."""

    def __init__(
        self,
        config: MarketConfig = PROMPT_MARKET,
        *,
        seed: int = 0,
        account: Account | None = None,
        keeps_router: bool = False,
        beside: World | None = None,
    ) -> None:
        """`beside`: another stage on the same Vast account; its `tick` is this one's, too."""
        self.neighbours: list[World] = []
        self.host = "ballast.example"
        if beside is None:
            self.clock = ManualClock(NOON)
            self.processes: dict[int, WorkerProgram] = {}
            self.market = Market(config, seed=seed, driver=ProgramHosts(self.processes))
            template = {"name": "TGI", "image": "tgi:1", "env": "-e A=1"}
            self.template_hash = str(self.market.templates.add(template, NOON)["hash_id"])
            secrets = FakeSecretBox()
        else:
            self.clock, self.processes, self.market = beside.clock, beside.processes, beside.market
            self.template_hash = beside.template_hash
            beside.neighbours.append(self)
            self.host = f"stage-{len(beside.neighbours)}.example"
            secrets = FakeSecretBox(f"pepper of {self.host}".encode())
        self.workers = FakeWorkerRepository()
        self.ledger = FakeLedger(account or Account())
        self.ledger.set_public_url(f"https://{self.host}")
        self.waiting = FakeWaitingRepository()
        self.events = FakeEventLog()
        self.poke = FakeScalerPoke()
        self.marketplace = FakeMarketplace(self.market, self.clock)
        self.boot_error = ""  # what every worker that boots from now on reports
        self.report_loss = 0.0  # share of the reports that never arrive
        self._dice = random.Random(seed + 2)
        self._memory = ReportsMemory()
        self.ports = self.owner_ports = fake_scaler_ports(
            self.clock,
            self.marketplace,
            seed=seed + 1,
            workers=self.workers,
            waiting=self.waiting,
            poke=self.poke,
            events=self.events,
            ledger=self.ledger,
            secrets=secrets,
        )
        self.clients = Clients(
            self.owner_ports, self._serves, keeps_router=keeps_router, seed=seed + 3
        )

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.clock.now()

    # ---------------------------------------------------------------------------- configuration

    def add_group(self, name: str = "llm", **params: object) -> EndpointGroup:
        """An endpoint group with one autogroup on RTX 4090s."""
        groups = self.owner_ports.groups
        endpoint_id = groups.next_id()
        values: dict[str, object] = {"cold_workers": 1, "max_workers": 4, **params}
        group = EndpointGroup(
            endpoint_id=endpoint_id,
            name=name,
            created_at=self.now,
            params=ScalingParams(**values),  # type: ignore[arg-type]  # checked by the class itself
            given=tuple(values),
        )
        groups.add_group(group)
        self.add_autogroup(endpoint_id)
        return group

    def add_autogroup(self, endpoint_id: int, **changes: object) -> Autogroup:
        """One more autogroup."""
        values: dict[str, object] = {
            "template_hash": self.template_hash,
            "search_query": {"gpu_name": {"eq": "RTX 4090"}, "num_gpus": {"eq": "1"}},
            "test_workers": 1,
            **changes,
        }
        autogroup = Autogroup(
            autogroup_id=self.owner_ports.groups.next_id(),
            endpoint_id=endpoint_id,
            created_at=self.now,
            **values,  # type: ignore[arg-type]  # checked by the class itself
        )
        self.owner_ports.groups.add_autogroup(autogroup)
        self.publish()
        return autogroup

    def publish(self) -> None:
        """Tell the routers what the owner changed, as management does after each change."""
        publish_directory(self.owner_ports)

    # ---------------------------------------------------------------------------------- time

    def tick(self, seconds: float) -> None:
        """Let time pass: the market moves, workers report each 10 s, clients ask each 5 s."""
        end = self.now + seconds
        while self.now < end:
            self.clock.advance(min(5.0, end - self.now))
            self.market.advance(self.now)
            for world in (self, *self.neighbours):
                world.report_workers()
                world.serve_waiting()

    def report_workers(self) -> None:
        """Every worker program that runs reports, unless it is silent."""
        for instance in list(self.market.instances.values()):
            if not self.has_rented(instance):
                continue  # another's: no worker of ours runs there
            if instance.actual_status != "running" or instance.is_offline:
                self.processes.pop(instance.instance_id, None)
                continue
            process = self._process(instance)
            if not process.is_silent and process.seq <= self.now - 10:
                self._report(instance, process)

    def has_rented(self, instance: MarketInstance) -> bool:
        """Whether this deployment rented the machine: its worker reports here."""
        return f"@{self.host}" in instance.order.env.get("REPORT_ADDR", "")

    def ask(
        self,
        endpoint_id: int,
        n: int = 1,
        cost: float = REQUEST_COST,
        *,
        key: str = "",
        insists: bool = False,
    ) -> None:
        """Clients ask for a worker; they keep asking until they are served.

        `key`: under which, if not the group's own. `insists`: on one that is not interruptible.
        """
        self.clients.ask(endpoint_id, n, cost, key, insists=insists)
        self.serve_waiting()

    def serve_waiting(self) -> None:
        """Each waiting client asks again: a ready worker takes it, or it waits on."""
        if self.clients.waiting:
            self.clients.come_back()

    def occupy(self, instance_id: int, n_working: int, working_load: float) -> None:
        """What the worker on this machine is busy with, from its next report on."""
        process = self.processes.get(instance_id)
        if process is not None:
            process.n_working, process.working_load = n_working, working_load

    def finish(
        self, instance_id: int, request_idx: int, used: float, at_route: str = "/generate"
    ) -> None:
        """The worker on this machine tells that it served a request, and what that used."""
        instance = self.market.instances[instance_id]
        told = {"request_idx": request_idx, "status": "Success", "used": used, "route": at_route}
        body = {
            "worker_id": instance_id,
            "mtoken": instance.order.env.get("MASTER_TOKEN", ""),
            "requests": [told],
        }
        report = FinishedReport.from_json(json.dumps(body))
        receive_finished(self.owner_ports, self._memory, report, "")

    @property
    def n_waiting(self) -> int:
        """Clients that are not served yet."""
        return len(self.clients.waiting)

    @property
    def n_served(self) -> int:
        """Requests that were answered well."""
        return self.clients.n_served

    # -------------------------------------------------------------------------------- private

    def _process(self, instance: MarketInstance) -> WorkerProgram:
        known = self.processes.get(instance.instance_id)
        if known is None:
            boot_id = f"{instance.instance_id % 2**32:08x}{int(self.now) % 2**32:08x}"
            known = self.processes[instance.instance_id] = WorkerProgram(
                boot_id=boot_id, error=self.boot_error
            )
        return known

    def _report(self, instance: MarketInstance, process: WorkerProgram) -> None:
        process.seq = int(self.now)
        if self.report_loss and self._dice.random() < self.report_loss:
            return
        report = process.report(
            instance.instance_id,
            instance.order.env.get("MASTER_TOKEN", ""),
            max_perf=PERF * instance.machine.model.relative_perf,
            row=self._row(instance.instance_id),
        )
        receive_report(self.owner_ports, self._memory, report, "")

    def _row(self, instance_id: int) -> Worker | None:
        return next(
            (row for (_, id_), row in self.workers.rows.items() if id_ == instance_id), None
        )

    def _serves(self, url: str, _cost: float) -> bool:
        """Whether a request that goes to this address is answered well."""
        row = next((row for row in self.workers.rows.values() if row.url == url), None)
        instance = self.market.instances.get(row.instance_id) if row else None
        if instance is None or instance.actual_status != "running" or instance.is_offline:
            return False
        process = self.processes.get(instance.instance_id)
        if process is None or process.is_deaf:
            return False
        process.n_served += not process.fails
        process.n_errored += process.fails
        return not process.fails
