"""A flood of connections without a ticket, against the streams of those who have one."""

from __future__ import annotations

import asyncio
import logging
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import aiohttp
import psutil
import pytest

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import ControlPlaneServer
from tests.workers.world import environment, free_port, prompt, serve, until

N_PAIRS, STREAM_S, CHUNK_S = 5, 6.0, 0.02


@asynccontextmanager
async def process(*words: str, env: dict[str, str] | None = None) -> AsyncIterator[psutil.Process]:
    started = await asyncio.create_subprocess_exec(sys.executable, "-m", *words, env=env)
    try:
        yield psutil.Process(started.pid)
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def gaps(http: aiohttp.ClientSession, url: str, ticket: object) -> list[float]:
    """Seconds between the parts of a stream."""
    parameters = prompt(n_chunks=int(STREAM_S / CHUNK_S), chunk_s=CHUNK_S)
    body = {"auth_data": ticket, "payload": parameters}
    moments = []
    async with http.post(url + "/generate_stream", json=body) as answer:
        assert answer.status == 200
        async for _ in answer.content.iter_any():
            moments.append(time.perf_counter())
    return [after - before for before, after in pairwise(moments)]


@pytest.mark.long
async def test_500_new_connections_a_second_leave_streams_alone(tmp_path: Path) -> None:
    """Five pairs in one run: the median gap within 1.1, memory within + 64 MB."""
    control_plane, model_port, sink_port = ControlPlaneServer(), free_port(), str(free_port())
    async with (
        serve(control_plane.application()) as control_url,
        aiohttp.ClientSession() as http,
        process("lab.bench.workers.worker_processes", "model", str(model_port)),
        process("tests.workers.flooding", "sink", sink_port),
    ):
        env = environment(control_url, f"http://127.0.0.1:{model_port}", tmp_path)
        env |= {"BENCHMARK_ROUNDS": "1", "BENCHMARK_CONCURRENCY": "1", "LOG_LEVEL": "WARNING"}
        async with process("workers.tgi.server", env=env) as worker:
            await until(lambda: control_plane.last_report.get("max_perf"), "it is ready", 60)
            port = env["WORKER_PORT"]
            url = f"http://127.0.0.1:{port}"
            numbers = iter(range(1, 100))

            def ticket() -> dict[str, object]:
                now, number = time.time(), next(numbers)
                return control_plane.signer.ticket(
                    Claims(
                        cost=100.0, endpoint="E", endpoint_id=7, url=url, reqnum=number,
                        request_idx=number, instance_id=4711,
                        boot_id=str(control_plane.last_report["boot_id"]),
                        issued_at=now, expires_at=now + 60,
                    )
                )  # fmt: skip

            await gaps(http, url, ticket())
            before = worker.memory_info().rss
            most, ratios = before, []
            for _ in range(N_PAIRS):
                medians = []
                for target in (sink_port, port):
                    async with process("tests.workers.flooding", target, str(STREAM_S + 4)):
                        await asyncio.sleep(3.0)
                        medians.append(statistics.median(await gaps(http, url, ticket())))
                        most = max(most, worker.memory_info().rss)
                ratios.append(medians[1] / medians[0])
    told = f"{[round(ratio, 3) for ratio in ratios]}, {(most - before) / 2**20:.1f} MB more"
    logging.getLogger(__name__).warning("median gap, flooded over calm: %s", told)
    assert statistics.median(ratios) < 1.1, told
    assert most - before < 64 * 2**20, told
