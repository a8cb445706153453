"""Half an hour of fifty clients that read, leave, stall and send nonsense: one worker's soak.

`pytest tests/workers/test_soak.py -m long -s -o log_cli=true`; SOAK_MINUTES for another time. Ends
by itself; 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import ControlPlaneServer
from tests.workers.test_flood import process
from tests.workers.world import environment, free_port, prompt, serve, until
from workers.pyworker.tickets.admission import UNSURE_CLOCK_LEEWAY_S

N_CLIENTS = 50
N_TOKENS = 20
MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
LOOK_EVERY_S = 5.0
FILLS_UNTIL_S = 2 * UNSURE_CLOCK_LEEWAY_S + 60.0
"""Used tickets are remembered for so long, so that memory grows by them until then."""
MAX_GROWTH = 1.05
"""Of memory, from the first half's median to the second's, once it holds all that it ever will."""
REST_S = 30.0
"""Connections that nobody uses are closed by then, on either side of the worker."""
NONSENSE = (
    b"\x16\x03\x01\x02\x00" + b"x" * 200,
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"[" * 70_000,
    b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /session/create HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
)


@dataclass
class Soak:
    """One worker's clients and what became of them."""

    control_plane: ControlPlaneServer
    http: aiohttp.ClientSession
    url: str
    port: int
    rng: random.Random
    expected: dict[int, set[str]] = field(default_factory=dict)  # by request_idx
    counts: Counter[str] = field(default_factory=Counter)
    _number: int = 0

    def ticket(self, fates: set[str]) -> dict[str, object]:
        """A good one; what the books may say of it."""
        self._number += 1
        self.expected[self._number] = fates
        now = time.time()
        return self.control_plane.signer.ticket(
            Claims(
                cost=float(N_TOKENS), endpoint="E", endpoint_id=7, url=self.url,
                reqnum=self._number, request_idx=self._number, instance_id=4711,
                boot_id=str(self.control_plane.last_report["boot_id"]),
                issued_at=now, expires_at=now + 60,
            )
        )  # fmt: skip

    async def client(self, until_s: float) -> None:
        """Requests one after another, each as the dice say."""
        kinds = (self.whole, self.stream, self.stream, self.leave, self.stall, self.nonsense)
        while time.monotonic() < until_s:
            await self.rng.choice(kinds)()
            await asyncio.sleep(self.rng.uniform(0.1, 1.5))

    def _post(self, route: str, fates: set[str]) -> Any:
        body = {"auth_data": self.ticket(fates), "payload": prompt(max_new_tokens=N_TOKENS)}
        return self.http.post(self.url + route, json=body)

    async def whole(self) -> None:
        """An answer in one piece."""
        async with self._post("/generate", {"Success"}) as answer:
            body = await answer.json()
            assert answer.status == 200
            assert len(body["generated_text"].split()) == N_TOKENS
        self.counts["whole"] += 1

    async def stream(self) -> None:
        """A stream to its end: every token, and the last event."""
        async with self._post("/generate_stream", {"Success"}) as answer:
            body = await answer.read()
            assert answer.status == 200
        assert body.count(b'"token"') == N_TOKENS
        assert b'"generated_text": null' not in body.rsplit(b"data:", 1)[1]
        self.counts["stream"] += 1

    async def leave(self) -> None:
        """Gone after the first bytes, or before them."""
        answer = await self._post("/generate_stream", {"Cancelled", "Success"})
        if self.rng.random() < 0.5:
            await answer.content.readany()
        answer.close()
        self.counts["leave"] += 1

    async def stall(self) -> None:
        """Reads nothing for a while, then goes or reads on."""
        async with self._post("/generate_stream", {"Cancelled", "Success"}) as answer:
            await asyncio.sleep(self.rng.uniform(0.5, 5.0))
            if self.rng.random() < 0.5:
                await answer.read()
        self.counts["stall"] += 1

    async def nonsense(self) -> None:
        """Bytes that are no request, or a ticket that is none."""
        if self.rng.random() < 0.5:
            forged = {**self.ticket(set()), "signature": "AAAA" * 100}
            body = {"auth_data": forged, "payload": prompt()}
            async with self.http.post(self.url + "/generate", json=body) as answer:
                assert answer.status == 401
        else:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(self.rng.choice(NONSENSE))
            await asyncio.sleep(self.rng.uniform(0.0, 0.5))
            writer.transport.abort()
        self.counts["nonsense"] += 1

    def wrong_books(self) -> dict[int, tuple[set[str], list[str]]]:
        """Tickets of which the finished requests do not say what became of them, once."""
        told: dict[int, list[str]] = {}
        for entry in self.control_plane.finished:
            told.setdefault(int(str(entry["request_idx"])), []).append(str(entry["status"]))
        return {
            number: (fates, told.get(number, []))
            for number, fates in self.expected.items()
            if (len(told.get(number, [])), not set(told.get(number, [])) - fates)
            != (1 if fates else 0, True)
        }


async def watch(worker: psutil.Process, until_s: float) -> list[float]:
    """Memory in MB, every few seconds, once it is filled."""
    await asyncio.sleep(FILLS_UNTIL_S)
    seen = []
    while time.monotonic() < until_s:
        seen.append(worker.memory_info().rss / 2**20)
        await asyncio.sleep(LOOK_EVERY_S)
    return seen


async def files_at_rest(worker: psutil.Process) -> int:
    """Open files while nobody is served; those of a moment (a report, a look at the log) left out.

    Under load a count of them is one of the clients that happen to be connected.
    """
    ends_at, fewest = time.monotonic() + REST_S, worker.num_fds()
    while time.monotonic() < ends_at:
        await asyncio.sleep(0.1)
        fewest = min(fewest, worker.num_fds())
    return fewest


@pytest.mark.long
@pytest.mark.skipif(
    60 * MINUTES < 2 * FILLS_UNTIL_S, reason="memory fills for five minutes, and is judged after it"
)
async def test_half_an_hour_of_fifty_clients_that_leave_stall_and_send_nonsense(
    tmp_path: Path,
) -> None:
    control_plane, model_port = ControlPlaneServer(), str(free_port())
    async with (
        serve(control_plane.application()) as control_url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
        process("lab.local.model.model_server", "--port", model_port),
    ):
        env = environment(control_url, f"http://127.0.0.1:{model_port}", tmp_path)
        env |= {"BENCHMARK_ROUNDS": "1", "BENCHMARK_CONCURRENCY": "1", "LOG_LEVEL": "ERROR"}
        async with process("workers.tgi.server", env=env) as worker:
            await until(lambda: control_plane.last_report.get("max_perf"), "it is ready", 60)
            port = env["WORKER_PORT"]
            url = f"http://127.0.0.1:{port}"
            files_before = await files_at_rest(worker)
            soak = Soak(control_plane, http, url, int(port), random.Random(1))
            ends_at = time.monotonic() + 60 * MINUTES
            async with asyncio.TaskGroup() as tasks:
                looks = tasks.create_task(watch(worker, ends_at))
                for _ in range(N_CLIENTS):
                    tasks.create_task(soak.client(ends_at))
            await until(lambda: control_plane.last_report["num_requests_working"] == 0, "at rest")
            await until(lambda: not soak.wrong_books(), "the books are right", 60)
            report = control_plane.last_report
            await http.close()
            files_after = await files_at_rest(worker)
    half = len(looks.result()) // 2
    before = statistics.median(looks.result()[:half])
    after = statistics.median(looks.result()[half:])
    told = f"{dict(soak.counts)}, MB {before:.1f}, {after:.1f}, files at rest {files_before}, "
    told += f"{files_after}, load {os.getloadavg()}"
    logging.getLogger(__name__).warning("%s minutes: %s", MINUTES, told)
    ended = sum(int(str(report[n])) for n in ("n_served", "n_cancelled"))
    assert report["n_received"] == ended == sum(bool(fates) for fates in soak.expected.values())
    assert (report["n_errored"], report["cur_load"], report["n_refused"]) == (0, 0, 0)
    assert after <= before * MAX_GROWTH, told
    assert files_after <= files_before, told
