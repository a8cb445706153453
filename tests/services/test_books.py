"""Every request is accounted once, whatever happens to clients and reports on the way (C13).

A world of our own workers (generation D) and clients that die, retry and come back; reports are
lost, repeated and reordered. The test keeps its own books, request by request.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import pytest

from chalicelib.core.autogroup import TicketGeneration
from chalicelib.core.load import is_empty
from chalicelib.services.keys import worker_token
from chalicelib.services.reports import ReportsMemory, receive_report
from chalicelib.services.routing_view import WAITING_ENDS_S, rebuild_view
from chalicelib.wire.reports import WorkerReport
from fakes.hot_ports import ENDPOINT_ID, INTENT_TOKEN, HotWorld
from tests.services.router import Router, make_world

SEQ = 1_800_000_000_000
COST = 20.0


@dataclass
class WorkerProcess:
    """A PyWorker with exact counters; serves one request after another."""

    world: HotWorld
    instance_id: int
    received: float = 0.0
    finished: float = 0.0
    queue: list[float] = field(default_factory=list)
    n_reports: int = 0

    def deliver(self, cost: float) -> None:
        """A client brought its ticket."""
        self.received += cost
        self.queue.append(cost)

    def serve(self, seconds: float) -> None:
        """Work off the queue at 100 per second."""
        left = 100.0 * seconds
        while self.queue and self.queue[0] <= left:
            left -= self.queue[0]
            self.finished += self.queue.pop(0)

    def report(self) -> bytes:
        """The next report's body."""
        self.n_reports += 1
        intent = INTENT_TOKEN.format(instance_id=self.instance_id)
        body = {
            "id": self.instance_id,
            "mtoken": worker_token(self.world.secrets, ENDPOINT_ID, intent),
            "ticket": "D",
            "version": "1.1.0",
            "boot_id": f"{self.instance_id:016x}",
            "seq": SEQ + self.n_reports,
            "max_perf": 100.0,
            "error_msg": "",
            "cur_load": sum(self.queue),
            "num_requests_working": len(self.queue),
            "num_requests_recieved": int(self.received / COST),
            "received_load": self.received,
            "finished_load": self.finished,
            "rejected_load": 0.0,
        }
        return json.dumps(body).encode()


@dataclass
class Books:
    """What became of the requests, by the test's own count."""

    n_asked: int = 0
    n_delivered: int = 0
    n_lost_with_grant: int = 0
    n_retried: int = 0
    n_gave_up: int = 0


def run(seed: int, n_requests: int) -> tuple[HotWorld, Books, list[WorkerProcess]]:
    rng, world, books = random.Random(seed), make_world(), Books()
    processes = [WorkerProcess(world, i) for i in (1, 2, 3)]
    for process in processes:
        world.add_worker(
            process.instance_id, ticket=TicketGeneration.D, boot_id=f"{process.instance_id:016x}"
        )
    rebuild_view(world.ports(), ENDPOINT_ID, world.clock.now())
    routers, memory = [Router(world), Router(world)], ReportsMemory()
    waiting: list[int] = []
    late: list[bytes] = []
    while books.n_asked < n_requests or waiting:
        world.clock.advance(0.25)
        fresh = [0] * rng.randrange(6) if books.n_asked < n_requests else []
        books.n_asked += len(fresh)
        again, waiting = waiting, []
        for idx in [*fresh, *again]:
            _ask(rng.choice(routers), idx, processes, books, waiting, rng)
        for process in processes:
            process.serve(0.25)
            late.append(process.report())
        late = _deliver_some(world, memory, late, rng)
    return world, books, processes


def _ask(
    router: Router,
    idx: int,
    processes: list[WorkerProcess],
    books: Books,
    waiting: list[int],
    rng: random.Random,
) -> None:
    reply = router.ask(idx, cost=COST)
    if "url" not in reply:
        if rng.random() < 0.02:
            books.n_gave_up += 1
        else:
            waiting.append(router.idx(reply))
    elif (fate := rng.random()) < 0.05:
        books.n_lost_with_grant += 1  # the client died with the ticket in hand
    elif fate < 0.10:
        books.n_retried += 1  # it could not reach the worker, and asks again
        waiting.append(router.idx(reply))
    else:
        books.n_delivered += 1
        by_url = {router.world.workers.rows[ENDPOINT_ID, p.instance_id].url: p for p in processes}
        by_url[str(reply["url"])].deliver(COST)


def _deliver_some(
    world: HotWorld, memory: ReportsMemory, late: list[bytes], rng: random.Random
) -> list[bytes]:
    """Deliver reports out of order, some twice, some never; what is left comes later."""
    rng.shuffle(late)
    n = len(late) // 2 + 1
    for body in late[:n]:
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            receive_report(world.ports(), memory, WorkerReport.from_json(body), "")
    return late[n:]


@pytest.mark.parametrize("seed", range(5))
def test_the_books_agree_with_the_tests_own_ledger(seed: int) -> None:
    world, books, processes = run(seed, 400)
    rows = list(world.workers.rows.values())
    n_grants = books.n_delivered + books.n_lost_with_grant + books.n_retried
    assert sum(row.reqnum for row in rows) == n_grants
    assert sum(row.granted_load for row in rows) == n_grants * COST
    assert books.n_delivered + books.n_lost_with_grant + books.n_gave_up == books.n_asked
    # First grants are new demand, repeats are not.
    first_grants = n_grants - sum(row.retry_load for row in rows) / COST
    assert first_grants <= books.n_asked
    assert sum(p.received for p in processes) == books.n_delivered * COST


@pytest.mark.parametrize("seed", range(5))
def test_after_quiet_nothing_is_outstanding_and_nobody_waits(seed: int) -> None:
    world, _, processes = run(seed, 300)
    memory = ReportsMemory()
    for _ in range(30):
        world.clock.advance(2.0)
        for process in processes:
            process.serve(2.0)
            report = WorkerReport.from_json(process.report())
            receive_report(world.ports(), memory, report, "")
    now = world.clock.now()
    for process in processes:
        row = world.workers.rows[ENDPOINT_ID, process.instance_id]
        assert is_empty(row, now)
        assert (row.received_load, row.finished_load) == (process.received, process.finished)
    assert not world.waiting.list(ENDPOINT_ID, polled_since=now - WAITING_ENDS_S)
