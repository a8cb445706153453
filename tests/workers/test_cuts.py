"""200 streams cut by client, model or kill -9: the books equal the test's own, one by one."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import ControlPlaneServer
from fakes.scripted_model_server import ScriptedModelServer
from tests.workers.world import environment, prompt, serve, until

N_REQUESTS = 200
KINDS = ("whole", "client leaves", "model breaks", "model errs", "replayed")
FAR = 1_000_000


@dataclass
class Instance:
    """A PyWorker as a real process, started again under a new boot id after each kill."""

    env: dict[str, str]
    control_plane: ControlPlaneServer
    url: str
    process: asyncio.subprocess.Process | None = None
    boot_id: str = ""

    async def start(self) -> None:
        n_before = len(self.control_plane.reports)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.tgi.server"), env=self.env
        )
        await until(
            lambda: any(r["max_perf"] for r in self.control_plane.reports[n_before:]), "ready"
        )
        self.boot_id = str(self.control_plane.last_report["boot_id"])

    async def kill(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@dataclass
class Caller:
    """Sends requests and writes down how each must end in the control plane's books."""

    instance: Instance
    http: aiohttp.ClientSession
    expected: dict[int, str] = field(default_factory=dict)
    n_replayed: Counter[str] = field(default_factory=Counter)

    def ticket(self) -> tuple[int, dict[str, object]]:
        idx = len(self.expected) + 1
        self.expected[idx] = "unknown"
        now = time.time()
        claims = Claims(
            cost=100.0 + idx,
            endpoint="TGI-Llama3",
            endpoint_id=7,
            url=self.instance.url,
            reqnum=idx,
            request_idx=idx,
            instance_id=4711,
            boot_id=self.instance.boot_id,
            issued_at=now,
            expires_at=now + 60,
        )
        return idx, self.instance.control_plane.signer.ticket(claims)

    async def send(self, kind: str, rng: random.Random) -> None:
        idx, ticket = self.ticket()
        if kind == "whole":
            status, _ = await self._stream(ticket, prompt(n_chunks=rng.randint(1, 4)))
            self.expected[idx] = "Success"
            assert status == 200
        elif kind == "client leaves":
            script = prompt(n_chunks=FAR, chunk_s=0.005)
            await self._stream(ticket, script, leave_after=rng.randint(1, 4))
            self.expected[idx] = "Cancelled"
        elif kind == "model breaks":
            script = prompt(n_chunks=9, chunk_s=0.002, break_after=rng.randint(1, 5))
            _, is_whole = await self._stream(ticket, script)
            self.expected[idx] = "Error"
            assert not is_whole
        elif kind == "model errs":
            status = await self._post("/generate", ticket, prompt(status=500))
            self.expected[idx] = "Error"
            assert status == 500
        else:
            assert await self._post("/generate", ticket, prompt()) == 200
            self.expected[idx] = "Success"
            assert await self._post("/generate", ticket, prompt()) == 401
            self.n_replayed[self.instance.boot_id] += 1

    async def be_cut_by_a_kill(self) -> None:
        """A stream that the worker's death ends: nothing may ever claim that it ended otherwise."""
        idx, ticket = self.ticket()
        _, is_whole = await self._stream(ticket, prompt(n_chunks=FAR, chunk_s=0.01))
        self.expected[idx] = "expired"
        assert not is_whole

    async def _post(self, route: str, ticket: object, payload: object) -> int:
        body = {"auth_data": ticket, "payload": payload}
        async with self.http.post(self.instance.url + route, json=body) as answer:
            await answer.read()
            return answer.status

    async def _stream(
        self, ticket: object, payload: object, leave_after: int = FAR
    ) -> tuple[int, bool]:
        body = {"auth_data": ticket, "payload": payload}
        try:
            async with self.http.post(self.instance.url + "/generate_stream", json=body) as answer:
                n_chunks = 0
                async for _ in answer.content.iter_any():
                    n_chunks += 1
                    if n_chunks == leave_after:
                        break
                return answer.status, True
        except aiohttp.ClientError:
            return 0, False


async def test_the_books_equal_our_own_after_200_cuts(tmp_path: Path) -> None:
    control_plane, model, rng = ControlPlaneServer(), ScriptedModelServer(), random.Random(1)
    async with (
        serve(control_plane.application()) as control_plane_url,
        serve(model.application()) as model_url,
        aiohttp.ClientSession() as http,
    ):
        env = environment(control_plane_url, model_url, tmp_path) | {
            "BENCHMARK_ROUNDS": "1",
            "LOG_LEVEL": "ERROR",
        }
        instance = Instance(env, control_plane, f"http://127.0.0.1:{env['WORKER_PORT']}")
        caller = Caller(instance, http)
        await instance.start()
        last_of_boot: dict[str, dict[str, object]] = {}
        for n_round in range(4):
            kinds = [rng.choice(KINDS) for _ in range(N_REQUESTS // 4 - 5)]
            for start in range(0, len(kinds), 15):
                await asyncio.gather(*(caller.send(k, rng) for k in kinds[start : start + 15]))
            await until(lambda: _all_told(caller, control_plane), "all that ended is told")
            last_of_boot[instance.boot_id] = control_plane.last_report
            doomed = [asyncio.create_task(caller.be_cut_by_a_kill()) for _ in range(5)]
            await until(lambda: model.n_at_work >= 5, "the worker has them")
            await instance.kill()
            await asyncio.gather(*doomed)
            await until(lambda: model.n_at_work == 0, "the model stops for the dead worker too")
            if n_round < 3:
                await instance.start()
    _check_books(caller, control_plane, last_of_boot)


def _check_books(
    caller: Caller,
    control_plane: ControlPlaneServer,
    last_of_boot: dict[str, dict[str, object]],
) -> None:
    told = {r["request_idx"]: r["status"] for r in control_plane.finished}
    assert len(told) == len(control_plane.finished)  # nothing twice
    assert told == {i: how for i, how in caller.expected.items() if how != "expired"}
    assert Counter(caller.expected.values())["expired"] == 20
    assert len(caller.expected) == N_REQUESTS
    for boot_id, report in last_of_boot.items():
        assert report["received_load"] == report["finished_load"]
        assert (report["cur_load"], report["working_request_idxs"]) == (0, [])
        assert report["n_rejected"] == caller.n_replayed[boot_id]
    n = Counter(told.values())
    reports = last_of_boot.values()
    for status, key in (("Success", "served"), ("Cancelled", "cancelled"), ("Error", "errored")):
        assert sum(r[f"n_{key}"] for r in reports) == n[status]  # type: ignore[misc]
    cost = sum(100 + idx for idx, how in caller.expected.items() if how != "expired")
    assert sum(r["finished_load"] for r in reports) == cost  # type: ignore[misc]


def _all_told(caller: Caller, control_plane: ControlPlaneServer) -> bool:
    ended = [how for how in caller.expected.values() if how != "expired"]
    last = control_plane.last_report
    return (
        len(control_plane.finished) == len(ended)
        and last["received_load"] == last["finished_load"]
        and last["n_rejected"] == caller.n_replayed[caller.instance.boot_id]
    )
