"""Cut by client, model or kill -9: the books equal the test's own. 50 streams; 200 when long.

Real PyWorker processes, the deployment's own app over its tables, grants from its `/route/`. The
test keeps a line for each grant. Costs are such that no two sets of a batch's requests have the
same sum, so equal loads in the rows mean the very same requests.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from chalicelib import wiring
from chalicelib.core.model.load import UNSEEN_EXPIRES_S, is_empty
from chalicelib.core.model.worker import Worker, WorkerState
from fakes.scripted_model_server import ScriptedModelServer
from tests.api.over_tables import ENDPOINT, Deployment
from tests.workers.cut_ledger import TOLD, Ledger, Line, book
from tests.workers.world import environment, prompt, serve, until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_kms import KMSClient

N_WORKERS, BATCH, N_DOOMED = 2, 20, 10
FAR = 1_000_000
SETTLE_S = 60.0
SENDS = (
    ("whole", "served"),
    ("client leaves", "cancelled"),
    ("model breaks", "errored"),
    ("model errs", "errored"),
    ("replayed", "served"),
    ("malformed", "refused"),
    ("model is full", "rejected"),
    ("never brought", "expired"),
)


@dataclass
class Instance:
    """A rented machine whose PyWorker is a process, started under a new boot id after each kill."""

    deployment: Deployment
    instance_id: int
    env: dict[str, str]
    process: asyncio.subprocess.Process | None = None

    @property
    def row(self) -> Worker:
        """The control plane's row."""
        row = self.deployment.ports.workers.find(self.deployment.endpoint_id, self.instance_id)
        assert row
        return row

    async def start(self) -> None:
        before = self.row.boot_id
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.tgi.server"), env=self.env
        )
        await until(
            lambda: (row := self.row).state is WorkerState.READY and row.boot_id != before, "ready"
        )

    async def kill(self) -> None:
        assert self.process
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@dataclass
class Story:
    """Callers, workers and the control plane, and the ledger of all that happened."""

    deployment: Deployment
    model: ScriptedModelServer
    url: str
    http: aiohttp.ClientSession
    instances: dict[str, Instance]  # by url
    rng: random.Random
    ledger: Ledger = field(default_factory=Ledger)

    async def batch(self, n: int) -> None:
        """So many requests at once, each with an end drawn by lot; then the books are compared."""
        draws = [(self.rng.choice(SENDS), 100 + 2**i / 1e6) for i in range(n)]
        await asyncio.gather(*(self.send(kind, how, cost) for (kind, how), cost in draws))
        await self.agree()

    async def send(self, kind: str, how: str, cost: float) -> None:
        """One request, routed again until a worker takes it."""
        idx = 0
        while True:
            line, ticket, url = await self.granted(cost, idx)
            if kind == "never brought":
                line.how = how
                return
            line.how = how if await self._bring(kind, url, ticket) else "expired"
            if line.how != "expired":
                return
            self.ledger.n_turned_away[self.boot_of(url)] += 1
            idx = line.request_idx

    async def granted(self, cost: float, idx: int = 0) -> tuple[Line, dict[str, object], str]:
        """Ask `/route/` as clients do until there is a grant; its line is in the ledger."""
        is_repeat = idx > 0
        body = {"endpoint": ENDPOINT, "api_key": self.deployment.key, "cost": cost}
        deadline = time.monotonic() + SETTLE_S
        while True:
            async with self.http.post(
                self.url + "/route/", json=body | {"request_idx": idx}
            ) as answer:
                reply = await answer.json()
            assert answer.status == 200, reply
            idx = int(reply["request_idx"])
            if "url" in reply:
                break
            assert time.monotonic() < deadline, reply
            await asyncio.sleep(min(float(reply["poll_after_s"]), 1.0))
        url = str(reply["url"])
        instance_id = self.instances[url].instance_id
        # What the ticket says is what the request counts as: learned, whatever was stated.
        line = Line(
            instance_id,
            self.boot_of(url),
            int(reply["reqnum"]),
            idx,
            float(reply["cost"]),
            is_repeat=is_repeat,
        )
        self.ledger.lines.append(line)
        return line, reply, url

    def boot_of(self, url: str) -> str:
        """Under which boot the worker runs."""
        return self.instances[url].row.boot_id

    async def _bring(self, kind: str, url: str, ticket: object) -> bool:
        """Whether the worker took the request, which then ended as its kind says."""
        if kind == "whole":
            answer = await self.stream(url, ticket, prompt(n_chunks=self.rng.randint(1, 4)))
        elif kind == "client leaves":
            script = prompt(n_chunks=FAR, chunk_s=0.005)
            answer = await self.stream(url, ticket, script, leave_after=self.rng.randint(1, 4))
        elif kind == "model breaks":
            script = prompt(n_chunks=9, chunk_s=0.002, break_after=self.rng.randint(1, 5))
            answer = await self.stream(url, ticket, script)
            assert answer in ((503, True), (200, False))
            return answer[0] == 200
        else:
            return await self._post(kind, url, ticket)
        assert answer in ((503, True), (200, True))
        return answer[0] == 200

    async def _post(self, kind: str, url: str, ticket: object) -> bool:
        wanted = {"model errs": 500, "model is full": 429}.get(kind, 200)
        payload = prompt(status=wanted)
        wanted = 422 if kind == "malformed" else wanted
        status = await self.post(url, ticket, {"inputs": 7} if kind == "malformed" else payload)
        if status == 503:
            return False
        assert status == wanted
        if kind == "replayed":
            assert await self.post(url, ticket, payload) == 401
            self.ledger.n_turned_away[self.boot_of(url)] += 1
        return True

    async def post(self, url: str, ticket: object, payload: object) -> int:
        """The status of a call without a stream."""
        body = {"auth_data": ticket, "payload": payload}
        async with self.http.post(url + "/generate", json=body) as answer:
            await answer.read()
            return answer.status

    async def stream(
        self, url: str, ticket: object, payload: object, leave_after: int = FAR
    ) -> tuple[int, bool]:
        """Status of a streamed call, and whether it was there to the end or to where we left."""
        body, status = {"auth_data": ticket, "payload": payload}, 0
        try:
            async with self.http.post(url + "/generate_stream", json=body) as answer:
                status, n_chunks = answer.status, 0
                async for _ in answer.content.iter_any():
                    n_chunks += 1
                    if n_chunks == leave_after:
                        break
                return status, True
        except aiohttp.ClientError:
            return status, False

    async def doomed(self, cost: float, is_brought: list[str]) -> None:
        """A stream that its worker's death ends: nobody may ever claim that it ended otherwise."""
        line, ticket, url = await self.granted(cost)
        is_brought.append(url)
        _, is_whole = await self.stream(url, ticket, prompt(n_chunks=FAR, chunk_s=0.01))
        assert not is_whole
        line.how = "expired"

    async def agree(self) -> None:
        """The books come to equal the ledger: rows, and what was told of each request."""
        deadline = time.monotonic() + SETTLE_S
        while (found := self._found()) != (own := self._own()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        assert found == own

    def _found(self) -> object:
        told = sorted(
            (int(entry["request_idx"]), entry["status"]) for entry in self.deployment.told
        )
        return {row.instance_id: book(row) for row in self.deployment.rows()}, told

    def _own(self) -> object:
        boots = {one.instance_id: one.row.boot_id for one in self.instances.values()}
        lines = [line for line in self.ledger.lines if line.how in TOLD]
        told = sorted((line.request_idx, TOLD[line.how]) for line in lines)
        return self.ledger.books(boots), told

    async def cut_by_a_kill(self, n: int) -> None:
        """Endless streams whose workers are killed with -9; what ended before stays booked."""
        holders: list[str] = []
        streams = [asyncio.create_task(self.doomed(100.0, holders)) for _ in range(n)]
        await until(lambda: len(holders) == n == self.model.n_at_work, "the model works on all")
        for url in set(holders):
            await self.instances[url].kill()
        await asyncio.gather(*streams)
        await until(lambda: self.model.n_at_work == 0, "the model stops for the dead, too")
        for url in set(holders):
            await self.instances[url].start()


@asynccontextmanager
async def story(state_dir: Path) -> AsyncIterator[Story]:
    """Ready workers under the real control plane."""
    deployment, model = Deployment.create(), ScriptedModelServer()
    instances: dict[str, Instance] = {}
    async with (
        serve(deployment.application()) as url,
        serve(model.application()) as model_url,
        aiohttp.ClientSession() as http,
    ):
        try:
            for instance_id in range(1, N_WORKERS + 1):
                env = environment(url, model_url, state_dir / str(instance_id))
                worker_url = f"http://127.0.0.1:{env['WORKER_PORT']}"
                token = deployment.rent(instance_id, worker_url)
                env |= {
                    "CONTAINER_ID": str(instance_id),
                    "MASTER_TOKEN": token,
                    "REPORT_ADDR": url.replace("http://", f"http://w:{token}@"),
                    "BENCHMARK_ROUNDS": "1",
                    "LOG_LEVEL": "ERROR",
                }
                instances[worker_url] = Instance(deployment, instance_id, env)
            await asyncio.gather(*(instance.start() for instance in instances.values()))
            yield Story(deployment, model, url, http, instances, random.Random(1))
        finally:
            for instance in instances.values():
                await instance.kill()
            wiring.reset()


@pytest.fixture
def account(dynamodb: DynamoDBClient, kms: KMSClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS account as a deployment of the stage `test` finds it."""
    monkeypatch.setenv("BALLAST_STAGE", "test")
    monkeypatch.setenv("BALLAST_SIGNER", "wrapped")


@pytest.mark.parametrize(
    ("n_rounds", "n_batches"),
    [(2, 1), pytest.param(3, 3, marks=pytest.mark.long)],
    ids=["50 cuts", "200 cuts"],
)
async def test_the_books_equal_our_own_after_all_cuts(
    account: None, tmp_path: Path, n_rounds: int, n_batches: int
) -> None:
    async with story(tmp_path) as it:
        for n_round in range(n_rounds):
            for _ in range(n_batches):
                await it.batch(BATCH)
            if n_round < n_rounds - 1:
                await it.cut_by_a_kill(N_DOOMED)
                await it.agree()
        lines, rows = it.ledger.lines, it.deployment.rows()
        assert len(lines) >= n_rounds * n_batches * BATCH + (n_rounds - 1) * N_DOOMED
        assert {line.how for line in lines} == {*TOLD, "expired"}
        assert {row.instance_id for row in rows} == {line.instance_id for line in lines}
        quiet_at = it.deployment.ports.clock.now() + UNSEEN_EXPIRES_S
        assert all(is_empty(row, quiet_at) for row in rows)
        assert it.deployment.ports.waiting.list(it.deployment.endpoint_id, polled_since=0) == []
        shown = it.deployment.call("/get_endpoint_workers/", {"id": it.deployment.endpoint_id})
        assert sum(row["n_granted"] for row in shown) == len(lines)
