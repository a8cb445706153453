"""A model server in this process that does what a test tells it: echoes, streams, hangs, breaks."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class ScriptedModelServer:
    """Serves `/generate` (echo), `/generate_stream` (n chunks) and `/health`.

    A payload steers its own answer: `parameters.delay_s`, `parameters.n_chunks`,
    `parameters.chunk_s`, `parameters.status`, `parameters.break_after` (chunks, then the connection
    is cut), `parameters.is_lost` (never answered, and not counted as at work).
    """

    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    is_healthy: bool = True
    is_zombie: bool = False  # its health route is fine, its answers fail
    is_frozen: bool = False  # its health route is fine, and nothing else ever comes
    is_frozen_idle: bool = False  # as it froze, its counters said that it has no work
    health_delay_s: float = 0.0
    has_counters: bool = False  # `/metrics`, as TGI's
    n_at_work: int = 0
    n_lost: int = 0
    max_at_work: int = 0
    n_cancelled: int = 0
    n_chunks_sent: int = 0
    n_answered: int = 0  # in one piece

    def application(self) -> web.Application:
        """The routes; any other POST echoes like `/generate`."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/generate_stream", self._stream)
        app.router.add_post("/{path:.*}", self._generate)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(self.health_delay_s)
        return web.Response(status=200 if self.is_healthy else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        if not self.has_counters:
            return web.Response(status=404)
        counters = {
            "tgi_batch_current_size": 0 if self.is_frozen_idle else self.n_at_work - self.n_lost,
            "tgi_queue_size": 0,
            "tgi_request_generated_tokens_sum": self.n_chunks_sent + self.n_answered,
        }
        return web.Response(text="".join(f"{name} {value}\n" for name, value in counters.items()))

    async def _until_thawed(self) -> None:
        while self.is_frozen:  # noqa: ASYNC110  a test sets it
            await asyncio.sleep(0.01)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body, script = await self._enter(request)
        try:
            if self.is_zombie:
                return web.json_response({"error": "CUDA error"}, status=500)
            if not _is_tgis(json.loads(body)):
                return web.json_response({"error": "Input validation error"}, status=422)
            if script.get("is_lost"):
                self.n_lost += 1
                await asyncio.Event().wait()
            await self._until_thawed()
            await asyncio.sleep(float(script.get("delay_s", 0.0)))
        except asyncio.CancelledError:
            self.n_cancelled += 1
            raise
        finally:
            self.n_at_work -= 1
        if script.get("break_after") is not None and request.transport:
            request.transport.abort()
        self.n_answered += 1
        n_tokens = int(script.get("max_new_tokens", 100))
        return web.Response(
            body=body,
            content_type="application/json",
            status=int(script.get("status", 200)),
            headers={"x-generated-tokens": str(n_tokens)},  # as TGI's `/generate` does
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        _, script = await self._enter(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            for number in range(int(script.get("n_chunks", 5))):
                if number == script.get("break_after") and request.transport:
                    request.transport.abort()
                    return response
                await self._until_thawed()
                await response.write(f"data: {number}\n\n".encode())
                self.n_chunks_sent += 1
                await asyncio.sleep(float(script.get("chunk_s", 0.0)))
            await response.write_eof()
        except (asyncio.CancelledError, ConnectionError):
            self.n_cancelled += 1
            raise
        finally:
            self.n_at_work -= 1
        return response

    async def _enter(self, request: web.Request) -> tuple[bytes, dict[str, float]]:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.n_at_work += 1
        self.max_at_work = max(self.max_at_work, self.n_at_work)
        script = json.loads(body).get("parameters")
        return body, script if isinstance(script, dict) else {}


def _is_tgis(payload: dict[str, object]) -> bool:
    """Whether TGI's own types are kept, where its names are used."""
    parameters = payload.get("parameters")
    is_text = isinstance(payload.get("inputs", ""), str)
    return is_text and (parameters is None or isinstance(parameters, dict))
