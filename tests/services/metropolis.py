"""A large group in virtual time: the product's `route()` over tables with DynamoDB's limits.

Everything between a request and its ticket is the product's, adapters included; the signature alone
is a stub, since RSA says nothing of tables. Workers serve in turn, and report each second.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from chalicelib.adapters.aws.routing import DynamoRoutingViewRepository
from chalicelib.adapters.aws.waiting import DynamoQuotaRepository, DynamoWaitingRepository
from chalicelib.adapters.aws.workers.placing import places_of, shard_key, shards_for
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.routing.directory import pack_directory
from chalicelib.ports.bundles import HotPorts
from chalicelib.ports.errors import StorageUnavailableError
from chalicelib.services.keys import endpoint_key, worker_token
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.reports import ReportsMemory, receive_report
from chalicelib.services.routing.route import route
from chalicelib.services.routing.views import rebuild_view
from chalicelib.wire.reports import WorkerReport
from chalicelib.wire.routing import RouteRequest
from fakes.aws.dynamodb import TimedDynamoDb
from fakes.aws.partitions import Partitions, ThrottledError, place_of
from fakes.bundles.hot_ports import (
    ENDPOINT_ID,
    ENDPOINT_NAME,
    INTENT_TOKEN,
    HotWorld,
    make_group,
    make_worker,
)
from fakes.ports.signer import UncheckedSigner

PREFIX = "ballast-test"
FIRST_ID = 31_000_000
SPEED = 100.0
LOAD = 0.8  # of the fleet's capacity
REPORTS_PER_S = 1.0


@dataclass
class Metropolis:
    """Ready workers behind warm routers. `warm`: partitions that the rows' table begins with."""

    n_workers: int
    grants_per_s: float
    warm: int
    n_routers: int = 60
    seed: int = 1
    world: HotWorld = field(default_factory=lambda: HotWorld(signer=UncheckedSigner()))
    asked: int = 0
    reports_refused: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        clock = self.world.clock
        self.world.signer.create_key(clock.now())
        self.dynamodb = TimedDynamoDb(clock, PREFIX, warm={"workers": self.warm}, seed=self.seed)
        client: Any = self.dynamodb
        self.ports: HotPorts = replace(
            self.world.ports(),
            workers=DynamoWorkerRepository(client, PREFIX),
            views=DynamoRoutingViewRepository(client, PREFIX),
            waiting=DynamoWaitingRepository(client, PREFIX),
            quotas=DynamoQuotaRepository(client, PREFIX),
        )
        self.ports.views.write_directory(pack_directory([make_group()]))
        self.ids = range(FIRST_ID, FIRST_ID + self.n_workers)
        self._free_at = dict.fromkeys(self.ids, clock.now())
        self._received = dict.fromkeys(self.ids, 0.0)
        self._seq = 1_800_000_000_000
        self._by_url: dict[str, int] = {}
        for n, instance_id in enumerate(self.ids):
            self._add(instance_id)
            if n % 50 == 0:
                clock.advance(1.0)  # no machine is rented faster
        self._tokens = {
            id_: worker_token(self.world.secrets, ENDPOINT_ID, INTENT_TOKEN.format(instance_id=id_))
            for id_ in self.ids
        }
        self._routers = [RouterMemory() for _ in range(self.n_routers)]
        self._reporters = [ReportsMemory() for _ in range(10)]
        self._key = endpoint_key(self.world.secrets, ENDPOINT_ID, 1)
        self.cost = LOAD * SPEED * self.n_workers / self.grants_per_s

    def _add(self, instance_id: int) -> None:
        ticket, url = TicketGeneration.D, f"http://203.0.113.9:{instance_id - FIRST_ID + 1_024}"
        boot = f"{instance_id:016x}"
        row = make_worker(instance_id, self.world.clock.now(), ticket=ticket, boot_id=boot, url=url)
        self.ports.workers.add(replace(row, perf=SPEED, slots=1, key_id="0"))
        self._by_url[url] = instance_id

    @property
    def table(self) -> Partitions:
        """Partitions of the worker rows."""
        return self.dynamodb.tables[f"{PREFIX}-workers"].partitions

    def ramp(self, seconds: int, writes_per_s: float) -> None:
        """Load before what is measured: each row's share of the writes, without the routers."""
        n_rows = len(self.ids)
        places = []
        for n, id_ in enumerate(self.ids):  # as the repository placed them
            key = shard_key(ENDPOINT_ID, places_of(id_, shards_for(n + 1))[0])
            places.append(place_of(f"{key + 10**15:020d}", f"{id_ + 10**15:020d}"))
        for _ in range(seconds):
            self.world.clock.advance(1.0)
            for place in places:
                try:
                    self.table.write(place, writes_per_s / n_rows, self.world.clock.now())
                except ThrottledError:
                    continue

    def begin(self) -> None:
        """Every worker reports, and the view is built."""
        for n, instance_id in enumerate(self.ids):
            self._report(instance_id)
            if n % 100 == 99:
                self.world.clock.advance(0.1)
        rebuild_view(self.ports, ENDPOINT_ID, self.world.clock.now())

    def run(self, seconds: float, grants_per_s: float) -> None:
        """Requests at random moments, and each worker's report each second."""
        began_at = self.world.clock.now()
        asks = [(self.rng.uniform(0.0, seconds), 0) for _ in range(round(seconds * grants_per_s))]
        reports = [
            (second + (n + 0.5) / self.n_workers, instance_id)
            for second in range(int(seconds * REPORTS_PER_S))
            for n, instance_id in enumerate(self.ids)
        ]
        for at, instance_id in sorted(asks + reports):
            self.world.clock.advance(max(0.0, began_at + at - self.world.clock.now()))
            if instance_id:
                self._report(instance_id)
            else:
                self._ask()

    def _ask(self) -> None:
        self.asked += 1
        request = RouteRequest(
            endpoint=ENDPOINT_NAME,
            endpoint_id=None,
            api_key=self._key,
            cost=self.cost,
            request_idx=0,
            is_paced=True,
        )
        reply = route(self.ports, self.rng.choice(self._routers), request)
        if "url" not in reply:
            self.refused[str(reply.get("status", ""))[:60]] += 1
            return
        instance_id = self._by_url[str(reply["url"])]
        now = self.world.clock.now()
        self._free_at[instance_id] = max(now, self._free_at[instance_id]) + self.cost / SPEED
        self._received[instance_id] += self.cost

    def _report(self, instance_id: int) -> None:
        self._seq += 1
        left = SPEED * max(0.0, self._free_at[instance_id] - self.world.clock.now())
        body = {
            "id": instance_id,
            "mtoken": self._tokens[instance_id],
            "ticket": "D",
            "boot_id": f"{instance_id:016x}",
            "seq": self._seq,
            "max_perf": SPEED,
            "slots": 1,
            "cur_load": left,
            "num_requests_working": int(left > 0),
            "received_load": self._received[instance_id],
            "finished_load": self._received[instance_id] - left,
        }
        report = WorkerReport.from_json(json.dumps(body))
        try:
            receive_report(self.ports, self._reporters[instance_id % 10], report, "")
        except StorageUnavailableError:
            self.reports_refused += 1

    @property
    def share_refused(self) -> float:
        """Of the requests: answered without a worker."""
        return sum(self.refused.values()) / max(1, self.asked)

    def forget(self) -> None:
        """Count anew."""
        self.asked, self.reports_refused = 0, 0
        self.refused.clear()
        self.dynamodb.calls.clear()
        self.dynamodb.throttled.clear()
