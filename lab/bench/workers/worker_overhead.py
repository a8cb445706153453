"""Our PyWorker beside the vendor's SDK Worker: what each adds to the same model server.

`python -m lab.bench.workers.worker_overhead [--requests 800] [--json]` starts, on 127.0.0.1, a
model server that answers at once, our worker (generation D: each ticket verified and used once),
the vendor's `Worker` (generation C), and calls them in turns in one run. Printed: latency added
over the bare model server, requests per second, delay of the first streamed chunk, processor time,
memory; and the ratios. "Added" is against the model server alone, itself an aiohttp server that
only echoes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import aiohttp
import psutil
from aiohttp import web

from chalicelib.wire.ticket import Claims, Ticket
from fakes.control_plane_server import ControlPlaneServer
from lab.bench.workers.worker_samples import Figures, Target, measure

INSTANCES = {"ours": 1, "vendor": 2}


class Tickets:
    """Signs what each worker wants; our tickets are used once, the vendor's may be used again."""

    def __init__(self, control_plane: ControlPlaneServer, url: str, instance_id: int) -> None:
        self._signer = control_plane.signer
        self._reports = control_plane.reports
        self._url = url
        self._instance_id = instance_id
        self._reqnum = 0
        self._url_signature = self._signer.sign_text(
            Ticket(cost=100, endpoint="e", reqnum=1, request_idx=1, url=url).signed_bytes_c()
        )

    def ours(self, payload: dict[str, object]) -> dict[str, object]:
        """An envelope with a fresh generation-D ticket."""
        self._reqnum += 1
        now = time.time()
        claims = Claims(
            cost=100,
            endpoint="e",
            endpoint_id=7,
            url=self._url,
            reqnum=self._reqnum,
            request_idx=self._reqnum,
            instance_id=self._instance_id,
            boot_id=next(str(r["boot_id"]) for r in self._reports if "boot_id" in r),
            issued_at=now,
            expires_at=now + 60,
        )
        return {"auth_data": self._signer.ticket(claims), "payload": payload}

    def vendors(self, payload: dict[str, object]) -> dict[str, object]:
        """An envelope with a generation-C ticket."""
        self._reqnum += 1
        auth_data = {
            "cost": 100,
            "endpoint": "e",
            "reqnum": self._reqnum,
            "request_idx": self._reqnum,
            "url": self._url,
            "signature": self._url_signature,
        }
        return {"auth_data": auth_data, "payload": payload}


async def compare(n: int) -> dict[str, Figures]:
    """Figures of the bare model server, ours and the vendor's, on the same machine in one run."""
    control_plane = ControlPlaneServer()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        control_url = await stack.enter_async_context(_serve(control_plane.application()))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model_port = _free_port()
        model = await stack.enter_async_context(_process(["model", str(model_port)], {}))
        model_url = f"http://127.0.0.1:{model_port}"
        targets = {"model alone": Target(model_url, lambda payload: payload, model)}
        for name, instance_id in INSTANCES.items():
            env = _environment(control_url, model_url, instance_id, folder)
            process = await stack.enter_async_context(_process([name], env))
            url = f"http://127.0.0.1:{env['WORKER_PORT']}"
            await _ready(control_plane, instance_id)
            tickets = Tickets(control_plane, url, instance_id)
            make_body = tickets.ours if name == "ours" else tickets.vendors
            targets[name] = Target(url, make_body, process)
        return await measure(http, targets, n)


async def _ready(control_plane: ControlPlaneServer, instance_id: int) -> None:
    for _ in range(600):
        if any(r["id"] == instance_id and r.get("max_perf") for r in control_plane.reports):
            return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"worker {instance_id} was not ready within a minute")


def _environment(
    control_url: str, model_url: str, instance_id: int, folder: Path
) -> dict[str, str]:
    port = str(_free_port())
    log = folder / f"model-{instance_id}.log"
    log.write_text("" if instance_id == INSTANCES["ours"] else "loaded\n")
    (folder / str(instance_id)).mkdir()
    return {
        "CONTAINER_ID": str(instance_id),
        "PUBLIC_IPADDR": "127.0.0.1",
        "WORKER_PORT": port,
        f"VAST_TCP_PORT_{port}": port,
        "WORKER_HTTP_PORT": str(_free_port()),
        "WORKER_HOST": "127.0.0.1",
        "REPORT_ADDR": control_url,
        "MASTER_TOKEN": "7.bench.mac",
        "MODEL_SERVER_URL": model_url,
        "MODEL_LOG": str(log),
        "STATE_DIR": str(folder / str(instance_id)),
        "BENCHMARK_ROUNDS": "1",
        "LOG_LEVEL": "WARNING",
        "USE_SSL": "false",
    }


@asynccontextmanager
async def _serve(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.name
    await runner.cleanup()


@asynccontextmanager
async def _process(words: list[str], env: dict[str, str]) -> AsyncIterator[psutil.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.bench.workers.worker_processes", *words),
        env=os.environ | env,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        await process.wait()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ratios(figures: dict[str, Figures]) -> dict[str, float]:
    """Ours over the vendor's, of what each adds to the model server; below 1 is better."""
    bare, ours, vendor = (figures[name] for name in ("model alone", "ours", "vendor"))
    return {
        "latency added, p50": (ours.p50_ms - bare.p50_ms) / (vendor.p50_ms - bare.p50_ms),
        "latency added, p99": (ours.p99_ms - bare.p99_ms) / (vendor.p99_ms - bare.p99_ms),
        "first chunk added, p50": (ours.first_chunk_p50_ms - bare.first_chunk_p50_ms)
        / (vendor.first_chunk_p50_ms - bare.first_chunk_p50_ms),
        "processor time added": (ours.cpu_ms - bare.cpu_ms) / (vendor.cpu_ms - bare.cpu_ms),
        "time per request at load": vendor.requests_per_s / ours.requests_per_s,
        "memory": ours.memory_mb / vendor.memory_mb,
        "memory added": (ours.memory_mb - bare.memory_mb) / (vendor.memory_mb - bare.memory_mb),
    }


def main(argv: list[str] | None = None) -> int:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.workers.worker_overhead", description=__doc__
    )
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    figures = asyncio.run(compare(arguments.requests))
    if arguments.json:
        result = {name: asdict(f) for name, f in figures.items()}
        print(json.dumps(result | {"ratios": ratios(figures)}, indent=1))
        return 0
    for name, f in figures.items():
        print(
            f"{name:12} p50 {f.p50_ms:6.2f} ms  p99 {f.p99_ms:6.2f} ms  first chunk "
            f"{f.first_chunk_p50_ms:6.2f} ms  {f.requests_per_s:6.0f} req/s  "
            f"{f.cpu_ms:5.2f} ms CPU  {f.memory_mb:4.0f} MB"
        )
    for name, ratio in ratios(figures).items():
        print(f"ours / vendor's, {name}: {ratio:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
