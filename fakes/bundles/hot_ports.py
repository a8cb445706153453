"""The hot function's ports, all in memory, and a small fleet to put behind them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.endpoint_group import GroupState
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.admission import AdmissionParams
from chalicelib.core.routing.directory import GroupFacts, pack_directory
from chalicelib.core.routing.table import AutogroupFacts
from chalicelib.ports.bundles import HotPorts
from fakes.ports.clock import FakeRandomness, ManualClock
from fakes.ports.event_log import FakeEventLog
from fakes.ports.key_repository import FakeKeyRepository
from fakes.ports.quotas import FakeQuotaRepository
from fakes.ports.routing_view import FakeRoutingViewRepository
from fakes.ports.scaler_poke import FakeScalerPoke
from fakes.ports.secret_box import FakeSecretBox
from fakes.ports.signer import FakeSigner
from fakes.ports.waiting import FakeWaitingRepository
from fakes.ports.worker_repository import FakeWorkerRepository

ENDPOINT_ID = 7
ENDPOINT_NAME = "TGI-Llama3"
AUTOGROUP_ID = 70
INTENT_TOKEN = "token-of-{instance_id}"  # noqa: S105  the form of a fake's tokens


@dataclass(slots=True)
class HotWorld:
    """Fakes by name, so that a test can look at them and break them."""

    clock: ManualClock = field(default_factory=ManualClock)
    randomness: FakeRandomness = field(default_factory=FakeRandomness)
    workers: FakeWorkerRepository = field(default_factory=FakeWorkerRepository)
    views: FakeRoutingViewRepository = field(default_factory=FakeRoutingViewRepository)
    waiting: FakeWaitingRepository = field(default_factory=FakeWaitingRepository)
    keys: FakeKeyRepository = field(default_factory=FakeKeyRepository)
    quotas: FakeQuotaRepository = field(default_factory=FakeQuotaRepository)
    signer: FakeSigner = field(default_factory=FakeSigner)
    secrets: FakeSecretBox = field(default_factory=FakeSecretBox)
    poke: FakeScalerPoke = field(default_factory=FakeScalerPoke)
    events: FakeEventLog = field(default_factory=FakeEventLog)

    def ports(self) -> HotPorts:
        """The fakes as the hot function sees them."""
        return HotPorts(
            clock=self.clock,
            randomness=self.randomness,
            workers=self.workers,
            views=self.views,
            waiting=self.waiting,
            keys=self.keys,
            quotas=self.quotas,
            signer=self.signer,
            secrets=self.secrets,
            poke=self.poke,
            events=self.events,
        )

    def publish(self, *groups: GroupFacts) -> None:
        """Put groups into the directory."""
        self.views.directory = pack_directory(groups)

    def add_worker(self, instance_id: int, **values: object) -> Worker:
        """A worker row; ready, measured and just heard of unless `values` say otherwise."""
        worker = make_worker(instance_id, self.clock.now(), **values)
        self.workers.rows[worker.endpoint_id, instance_id] = worker
        return worker


OWN_SOFTWARE: dict[str, object] = {"ticket": TicketGeneration.D, "boot_id": "b" * 16}
"""Of a worker that runs Ballast's own PyWorker, which keeps a ticket to its key's limits."""


def make_group(**values: object) -> GroupFacts:
    """An active group with one autogroup."""
    group = GroupFacts(
        endpoint_id=ENDPOINT_ID,
        name=ENDPOINT_NAME,
        state=GroupState.ACTIVE,
        key_generation=1,
        params=AdmissionParams(),
        autogroups=(AutogroupFacts(autogroup_id=AUTOGROUP_ID),),
    )
    return replace(group, **values)  # type: ignore[arg-type]


def make_worker(instance_id: int, now: float, **values: object) -> Worker:
    """A ready worker of 100 load per second."""
    worker = Worker(
        endpoint_id=ENDPOINT_ID,
        instance_id=instance_id,
        autogroup_id=AUTOGROUP_ID,
        created_at=now - 600,
        token=INTENT_TOKEN.format(instance_id=instance_id),
        url=f"http://203.0.113.{instance_id % 250}:{20_000 + instance_id % 40_000}",
        usd_per_hour=0.4,
        state=WorkerState.READY,
        state_since=now - 60,
        loaded_at=now - 60,
        started_at=now - 60,
        reported_at=now,
        ticket=TicketGeneration.C,
        version="1.1.0",
        perf=100.0,
    )
    return replace(worker, **values)  # type: ignore[arg-type]
