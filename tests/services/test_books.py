"""Every request is accounted once, whatever happens to clients and reports on the way.

A world of our own workers (generation D) and clients that die, retry and come back; reports are
lost, repeated and reordered. The test keeps a ledger of its own, request by request.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

import pytest

from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.model.load import WAITING_ENDS_S, is_empty
from chalicelib.core.model.worker import Worker
from chalicelib.services.keys import worker_token
from chalicelib.services.routing.reports import ReportsMemory, receive_report
from chalicelib.services.routing.views import rebuild_view
from chalicelib.wire.reports import WorkerReport
from fakes.bundles.hot_ports import ENDPOINT_ID, INTENT_TOKEN, HotWorld
from tests.services.router import Router, make_world

SEQ = 1_800_000_000_000
STEP_S = 0.25
COSTS = (5.0, 20.0, 35.0)
LOOK_EVERY = 200  # steps between two looks at the waiting rows


class State(Enum):
    """Where a request is in its life."""

    WAITING = auto()
    GRANTED = auto()  # and on its way back, since its worker could not be reached
    CLOSED = auto()  # brought to its worker
    DEAD = auto()  # its client died with the ticket in hand
    EXPIRED = auto()  # its client gave up while it waited


@dataclass(eq=False)
class Request:
    """One line of the ledger."""

    cost: float
    idx: int = 0
    state: State = State.WAITING
    grants: list[tuple[int, int]] = field(default_factory=list)  # (instance id, reqnum)
    polled_at: float = 0.0


@dataclass
class WorkerProcess:
    """A PyWorker with exact counters; serves one request after another."""

    world: HotWorld
    instance_id: int
    received: float = 0.0
    finished: float = 0.0
    n_received: int = 0
    queue: list[float] = field(default_factory=list)
    n_reports: int = 0

    def deliver(self, cost: float) -> None:
        """A client brought its ticket."""
        self.received += cost
        self.n_received += 1
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
            "num_requests_recieved": self.n_received,
            "received_load": self.received,
            "finished_load": self.finished,
            "rejected_load": 0.0,
        }
        return json.dumps(body).encode()


class Story:
    """Clients and workers in a world, and the ledger of all that happened."""

    def __init__(self, seed: int) -> None:
        self.rng, self.world = random.Random(seed), make_world()
        self.processes = {i: WorkerProcess(self.world, i) for i in (1, 2, 3)}
        for i in self.processes:
            self.world.add_worker(i, ticket=TicketGeneration.D, boot_id=f"{i:016x}")
        rebuild_view(self.world.ports(), ENDPOINT_ID, self.world.clock.now())
        self._by_url = {row.url: row.instance_id for row in self.rows()}
        self._routers = [Router(self.world), Router(self.world)]
        self._reports, self._late = ReportsMemory(), list[bytes]()
        self.ledger: list[Request] = []
        self.n_calls = 0

    def rows(self) -> list[Worker]:
        """The workers' rows."""
        return list(self.world.workers.rows.values())

    def play(self, n_requests: int) -> Iterator[None]:
        """One step after the other, until so many requests have come and none is left open."""
        open_ones: list[Request] = []
        while len(self.ledger) < n_requests or open_ones:
            self.world.clock.advance(STEP_S)
            if len(self.ledger) < n_requests:
                new = [Request(self.rng.choice(COSTS)) for _ in range(self.rng.randrange(6))]
                self.ledger += new
                open_ones += new
            for request in open_ones:
                self._ask(request)
            open_ones = [r for r in open_ones if r.state in (State.WAITING, State.GRANTED)]
            for process in self.processes.values():
                process.serve(STEP_S)
                self._late.append(process.report())
            self._deliver_reports()
            yield

    def _ask(self, request: Request) -> None:
        router, rng = self.rng.choice(self._routers), self.rng
        reply = router.ask(request.idx, cost=request.cost)
        self.n_calls += 1
        request.idx, request.polled_at = router.idx(reply), self.world.clock.now()
        if "url" not in reply:
            request.state = State.EXPIRED if rng.random() < 0.02 else State.WAITING
            return
        instance_id = self._by_url[str(reply["url"])]
        request.grants.append((instance_id, int(str(reply["reqnum"]))))
        fate = rng.random()
        if fate < 0.05:
            request.state = State.DEAD
        elif fate < 0.10:
            request.state = State.GRANTED
        else:
            request.state = State.CLOSED
            self.processes[instance_id].deliver(request.cost)

    def _deliver_reports(self) -> None:
        """Deliver reports out of order, some twice, some never; what is left comes later."""
        self.rng.shuffle(self._late)
        n = len(self._late) // 2 + 1
        for body in self._late[:n]:
            for _ in range(self.rng.choice((0, 1, 1, 1, 2))):
                report = WorkerReport.from_json(body)
                receive_report(self.world.ports(), self._reports, report, "")
        self._late = self._late[n:]

    def settle(self) -> None:
        """A minute of calm in which every report arrives."""
        for _ in range(30):
            self.world.clock.advance(2.0)
            for process in self.processes.values():
                process.serve(2.0)
                report = WorkerReport.from_json(process.report())
                receive_report(self.world.ports(), self._reports, report, "")


def assert_waiting_rows_are_who_waits(story: Story) -> None:
    """A row for each request that waits; else only for those given up less than 20 s ago."""
    now = story.world.clock.now()
    rows = story.world.waiting.list(ENDPOINT_ID, polled_since=now - WAITING_ENDS_S)
    found = {(row.request_idx, row.cost) for row in rows}
    assert len(found) == len(rows)
    waiting = {(r.idx, r.cost) for r in story.ledger if r.state is State.WAITING}
    given_up = {
        (r.idx, r.cost)
        for r in story.ledger
        if r.state is State.EXPIRED and now - r.polled_at <= WAITING_ENDS_S
    }
    assert waiting <= found <= waiting | given_up


def assert_rows_agree(story: Story) -> None:
    """Each worker's row is the sum of the ledger's lines about it."""
    for row in story.rows():
        i = row.instance_id
        lines = [(r, n) for r in story.ledger for n, g in enumerate(r.grants) if g[0] == i]
        assert sorted(r.grants[n][1] for r, n in lines) == list(range(1, row.reqnum + 1))
        assert row.granted_load == sum(r.cost for r, _ in lines)
        assert row.retry_load == sum(r.cost for r, n in lines if n > 0)
        brought = [r for r in story.ledger if r.state is State.CLOSED and r.grants[-1][0] == i]
        assert story.processes[i].received == sum(r.cost for r in brought)
    # What the scaler counts as demand is each granted request once, however often it came back.
    demand = sum(row.granted_load - row.retry_load for row in story.rows())
    assert demand == sum(r.cost for r in story.ledger if r.grants)


@pytest.mark.parametrize(
    ("seed", "n_requests", "n_calls"),
    [
        (0, 1_200, 3_000),
        (1, 400, 400),
        (2, 400, 400),
        (3, 400, 400),
        (4, 400, 400),
        pytest.param(0, 4_000, 10_000, marks=pytest.mark.long),
    ],
)
def test_the_books_equal_the_tests_own_ledger_request_by_request(
    seed: int, n_requests: int, n_calls: int
) -> None:
    story = Story(seed)
    for n, _ in enumerate(story.play(n_requests)):
        if n % LOOK_EVERY == 0:
            assert_waiting_rows_are_who_waits(story)
            assert_rows_agree(story)
    assert_waiting_rows_are_who_waits(story)
    assert_rows_agree(story)
    states = Counter(request.state for request in story.ledger)
    assert set(states) <= {State.CLOSED, State.DEAD, State.EXPIRED}
    assert states.total() == len(story.ledger) >= n_requests
    assert story.n_calls >= n_calls
    assert any(len(request.grants) > 1 for request in story.ledger)


@pytest.mark.parametrize("seed", range(5))
def test_after_quiet_nothing_is_outstanding_and_nobody_waits(seed: int) -> None:
    story = Story(seed)
    for _ in story.play(300):
        pass
    story.settle()
    now = story.world.clock.now()
    for row in story.rows():
        process = story.processes[row.instance_id]
        assert is_empty(row, now)
        assert (row.received_load, row.finished_load) == (process.received, process.finished)
    assert not story.world.waiting.list(ENDPOINT_ID, polled_since=now - WAITING_ENDS_S)
