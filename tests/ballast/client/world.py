"""A control plane on a thread of its own, so that blocking clients can call it; and a worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web

from fakes.control_plane_server import ControlPlaneServer
from tests.workers.world import QUICK_TGI, World, serve, world
from workers.pyworker.back_end import BackEnd

T = TypeVar("T")
DEFAULT_CTRL_C = ("env", "--default-signal=INT")
"""Before a command: a shell's background jobs, and what they start, are deaf to Ctrl-C."""


@dataclass
class FakeWorker:
    """Answers `statuses` one by one, then echoes the payload; remembers what it was sent.

    `stall_s`: seconds in the middle of an answer.
    """

    statuses: list[int] = field(default_factory=list)
    bodies: list[dict[str, object]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    stall_s: float = 0.0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.queries.append(request.query_string)
        if self.statuses:
            return web.json_response({"error": "scripted"}, status=self.statuses.pop(0))
        if self.stall_s:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"{")
            await asyncio.sleep(self.stall_s)
            await response.write(b"}")
            return response
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
def entered(
    loop: asyncio.AbstractEventLoop, context: AbstractAsyncContextManager[T]
) -> Iterator[T]:
    """The asynchronous context, held open on another thread's loop."""
    value = _in(loop, context.__aenter__())
    try:
        yield value
    finally:
        _in(loop, context.__aexit__(None, None, None))


@contextmanager
def served(app: web.Application) -> Iterator[str]:
    """The application on a thread of its own: its address."""
    with LoopThread() as loop, entered(loop, serve(app)) as url:
        yield url


@contextmanager
def servers() -> Iterator[Servers]:
    """Control plane and fake worker, granting that worker."""
    control_plane, worker = ControlPlaneServer(), FakeWorker()
    with (
        served(control_plane.application()) as control_plane_url,
        served(worker.application()) as worker_url,
    ):
        it = Servers(control_plane, control_plane_url, worker, worker_url)
        control_plane.next_grant = it.grant
        yield it


@contextmanager
def real_worker(
    state_dir: Path,
    back_end: BackEnd = QUICK_TGI,
    model: web.Application | None = None,
    **env: Any,
) -> Iterator[tuple[World, str]]:
    """A PyWorker with a scripted model or this one, and a control plane that signs for it."""
    with ExitStack() as stack:
        loop = stack.enter_context(LoopThread())
        if model:
            env["MODEL_SERVER_URL"] = stack.enter_context(entered(loop, serve(model)))
        it = stack.enter_context(entered(loop, world(state_dir, back_end, **env)))
        it.control_plane.next_grant = lambda body: it.ticket(
            cost=body["cost"], endpoint=body["endpoint"]
        )
        yield it, it.worker.settings.control_plane.url


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition outside any event loop."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.01)


def _in(loop: asyncio.AbstractEventLoop, step: Awaitable[T]) -> T:
    async def wait() -> T:
        return await step

    return asyncio.run_coroutine_threadsafe(wait(), loop).result(90)
