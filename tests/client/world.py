"""A control plane on a thread of its own, so that blocking clients can call it; and a worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from fakes.control_plane_server import ControlPlaneServer
from tests.workers.world import World, serve, world


@dataclass
class FakeWorker:
    """Answers `statuses` one by one, then echoes the payload; remembers what it was sent."""

    statuses: list[int] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.queries.append(request.query_string)
        if self.statuses:
            return web.json_response({"error": "scripted"}, status=self.statuses.pop(0))
        return web.json_response(body["payload"])


@dataclass
class Servers:
    """Addresses and memories."""

    control_plane: ControlPlaneServer
    control_plane_url: str
    worker: FakeWorker
    worker_url: str

    def grant(self, body: dict[str, object]) -> dict[str, object]:
        """A grant for the fake worker; its tickets are not checked."""
        return {
            "endpoint": body["endpoint"],
            "url": self.worker_url,
            "cost": body["cost"],
            "reqnum": len(self.control_plane.routes),
            "request_idx": body.get("request_idx") or 77,
            "signature": "s",
        }


class LoopThread:
    """An event loop that runs beside the test."""

    def __enter__(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self._loop

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(_finish(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


async def _finish() -> None:
    """Let whatever still runs end, and closed connections be closed for good."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0.05)


@contextmanager
def servers() -> Iterator[Servers]:
    """Control plane and fake worker, granting that worker."""
    control_plane, worker = ControlPlaneServer(), FakeWorker()
    with LoopThread() as loop:
        contexts = [serve(control_plane.application()), serve(worker.application())]
        urls = [_in(loop, context.__aenter__()) for context in contexts]
        it = Servers(control_plane, str(urls[0]), worker, str(urls[1]))
        control_plane.next_grant = it.grant
        try:
            yield it
        finally:
            for context in contexts:
                _in(loop, context.__aexit__(None, None, None))


@contextmanager
def real_worker(state_dir: Path) -> Iterator[tuple[World, str]]:
    """A PyWorker with a scripted model, and a control plane that signs for it."""
    with LoopThread() as loop:
        context = world(state_dir)
        it = _in(loop, context.__aenter__())
        assert isinstance(it, World)
        it.control_plane.next_grant = lambda body: it.ticket(cost=body["cost"])
        try:
            yield it, it.worker.settings.control_plane.url
        finally:
            _in(loop, context.__aexit__(None, None, None))


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition outside any event loop."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


def _in(loop: asyncio.AbstractEventLoop, coroutine: object) -> object:
    assert asyncio.iscoroutine(coroutine)
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
