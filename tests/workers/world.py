"""A PyWorker in this process between a fake control plane and a scripted model server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from chalicelib.wire.ticket import Claims
from fakes.control_plane_server import ControlPlaneServer
from fakes.scripted_model_server import ScriptedModelServer
from workers.pyworker.back_end import BackEnd
from workers.pyworker.model.life import DEFAULT_PATIENCE, Patience
from workers.pyworker.serving.server import Worker
from workers.pyworker.settings import WorkerSettings
from workers.tgi.server import BACK_END as TGI

# One quick benchmark payload, so that a test's worker is ready at once.
QUICK_TGI = replace(
    TGI,
    benchmark=replace(
        TGI.benchmark,
        n_rounds=1,
        concurrency=1,
        max_concurrency=1,
        make_payload=lambda _rng, _model: {"inputs": "x", "parameters": {"max_new_tokens": 100}},
    ),
)


@dataclass
class World:
    """The three servers and a client's way to call the worker."""

    control_plane: ControlPlaneServer
    model: ScriptedModelServer
    worker: Worker
    http: aiohttp.ClientSession
    reqnums: list[int] = field(default_factory=lambda: [0])
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def claims(self, **changes: Any) -> Claims:
        """Good claims for this worker with some fields changed."""
        self.reqnums[0] += 1
        claims = Claims(
            cost=100.0,
            endpoint="TGI-Llama3",
            endpoint_id=7,
            url=self.worker.settings.url,
            reqnum=self.reqnums[0],
            request_idx=1000 + self.reqnums[0],
            instance_id=self.worker.settings.instance_id,
            boot_id=self.worker.boot_id,
            issued_at=time.time(),
            expires_at=time.time() + 60,
        )
        return replace(claims, **changes)

    def ticket(self, **changes: Any) -> dict[str, object]:
        """A signed ticket; changes are made to the claims before signing."""
        return self.control_plane.signer.ticket(self.claims(**changes))

    async def post(
        self,
        route: str = "/generate",
        auth_data: object = None,
        payload: object = None,
        **rest: object,
    ) -> tuple[int, bytes]:
        """POST an envelope; status and body."""
        body = {
            "auth_data": self.ticket() if auth_data is None else auth_data,
            "payload": prompt() if payload is None else payload,
            **rest,
        }
        async with self.http.post(self.worker.settings.url + route, json=body) as answer:
            return answer.status, await answer.read()

    async def until(self, is_so: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        """Wait for a condition; the worker's last error is told if it never comes."""
        try:
            await until(is_so, what, timeout_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; error: {self.counters().get('error_msg')!r}") from None

    def is_ready(self) -> bool:
        """Whether this very process has said so."""
        report = self.counters()
        return report.get("boot_id") == self.worker.boot_id and bool(report["max_perf"])

    def counters(self) -> dict[str, object]:
        """The newest report."""
        return self.control_plane.last_report


async def until(is_so: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it does not come.
    """
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s} s: {what}")
        await asyncio.sleep(0.01)


def prompt(**parameters: object) -> dict[str, object]:
    """A TGI payload of 100 tokens with these parameters."""
    return {"inputs": "hello", "parameters": {"max_new_tokens": 100, **parameters}}


@asynccontextmanager
async def serve(app: web.Application, runner: web.AppRunner | None = None) -> AsyncIterator[str]:
    """The application on a free port of 127.0.0.1; `runner`: as it is really run."""
    runner = runner or web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name.replace("localhost", "127.0.0.1")
    finally:
        await runner.cleanup()


def free_port() -> int:
    """A port nobody listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(control_plane_url: str, model_url: str, state_dir: Path) -> dict[str, str]:
    """What Vast, the control plane and the template put into a worker's environment."""
    port = str(free_port())
    return {
        "CONTAINER_ID": "4711",
        "PUBLIC_IPADDR": "127.0.0.1",
        "WORKER_PORT": port,
        f"VAST_TCP_PORT_{port}": port,
        "WORKER_HOST": "127.0.0.1",
        "REPORT_ADDR": control_plane_url.replace("http://", "http://w:7.intent.mac@"),
        "MASTER_TOKEN": "7.intent.mac",
        "MODEL_SERVER_URL": model_url,
        "STATE_DIR": str(state_dir),
    }


@asynccontextmanager
async def loading(
    state_dir: Path,
    back_end: BackEnd = QUICK_TGI,
    control_plane: ControlPlaneServer | None = None,
    patience: Patience = DEFAULT_PATIENCE,
    **env: str,
) -> AsyncIterator[World]:
    """A worker whose model server is not healthy yet; `env` overrides its environment."""
    control_plane, model = control_plane or ControlPlaneServer(), ScriptedModelServer()
    model.is_healthy = False
    async with (
        serve(control_plane.application()) as control_plane_url,
        serve(model.application()) as model_url,
        aiohttp.ClientSession() as http,
    ):
        settings = WorkerSettings.from_env(
            environment(control_plane_url, model_url, state_dir) | env
        )
        worker = Worker(settings, back_end, patience)
        it = World(control_plane, model, worker, http)
        task = asyncio.create_task(worker.run())
        task.add_done_callback(lambda _task: it.ended.set())
        try:
            yield it
        finally:
            task.cancel()
            ended = await asyncio.gather(task, return_exceptions=True)
        if isinstance(ended[0], Exception):
            raise ended[0]


@asynccontextmanager
async def world(
    state_dir: Path,
    back_end: BackEnd = QUICK_TGI,
    control_plane: ControlPlaneServer | None = None,
    ready_within_s: float = 60.0,
    patience: Patience = DEFAULT_PATIENCE,
    **env: str,
) -> AsyncIterator[World]:
    """A ready worker; `env` overrides its environment."""
    async with loading(state_dir, back_end, control_plane, patience, **env) as it:
        it.model.is_healthy = True
        await it.until(
            lambda: it.ended.is_set() or it.is_ready(), "the worker is ready", ready_within_s
        )
        if not it.ended.is_set():
            it.model.bodies.clear()
            yield it
