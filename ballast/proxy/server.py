"""The proxy's routes: `/v1/…` for the default endpoint group, `/NAME/v1/…` for any."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from ballast.client.affinity import affinity_of
from ballast.client.affinity_secret import affinity_secret
from ballast.client.errors import CallError, RouteRefusedError, WaitTimeoutError, WorkerRefusedError
from ballast.proxy.cost import estimate_cost
from ballast.proxy.upstream import Call, Upstream
from chalicelib.wire.trace import HEADER

logger = logging.getLogger(__name__)

ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
CONVERSATION_HEADER = "Ballast-Conversation"
"""Any text that names the conversation; it is hashed like everything else."""

MAX_BODY = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class ProxySettings:
    """What one proxy serves. Without `api_key` each caller's own key is used for routing."""

    url: str
    endpoint: str
    api_key: str = ""
    timeout_s: float = 600.0


class Proxy:
    """Handlers; the only thing kept is open connections."""

    def __init__(self, settings: ProxySettings, upstream: Upstream) -> None:
        self._settings = settings
        self._secret = affinity_secret()
        self._upstream = upstream

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Route, wait, pass on, and stream the answer back."""
        try:
            call = self._parse(request, await request.read())
            answer = await self._upstream.open(call)
        except _BadRequestError as error:
            return _error(error.status, str(error), "invalid_request_error")
        except CallError as error:
            return _call_error(error)
        async with answer:
            return await _relay(request, answer)

    async def models(self, request: web.Request) -> web.StreamResponse:
        """The endpoint group as the one model there is."""
        name = request.match_info.get("endpoint", self._settings.endpoint)
        model = {"id": name, "object": "model", "created": 0, "owned_by": "ballast"}
        return web.json_response({"object": "list", "data": [model]})

    def _parse(self, request: web.Request, body: bytes) -> Call:
        endpoint = request.match_info.get("endpoint", self._settings.endpoint)
        scheme, _, callers_key = request.headers.get("Authorization", "").partition(" ")
        api_key = self._settings.api_key or (callers_key if scheme == "Bearer" else "")
        if not api_key:
            raise _BadRequestError(401, "no key: send Authorization: Bearer KEY")
        if not endpoint:
            raise _BadRequestError(
                404, "no endpoint group: use /NAME/v1/… or start with --endpoint"
            )
        try:
            payload = json.loads(body)
        except ValueError as error:
            raise _BadRequestError(400, "the body is not JSON") from error
        if not isinstance(payload, dict):
            raise _BadRequestError(400, "the body must be a JSON object")
        route = request.path[request.path.index("/v1/") :]
        return Call(
            api_key=api_key,
            endpoint=endpoint,
            route=route,
            payload=payload,
            cost=estimate_cost(route, payload),
            timeout_s=self._settings.timeout_s,
            traceparent=request.headers.get(HEADER, ""),
            affinity=affinity_of(
                self._secret_of(api_key),
                endpoint,
                payload,
                request.headers.get(CONVERSATION_HEADER, ""),
            ),
        )

    def _secret_of(self, callers_key: str) -> bytes:
        """Callers with own keys may be strangers: nobody is to see that two ask the same."""
        if self._settings.api_key:
            return self._secret
        return hmac.digest(self._secret, callers_key.encode(), "sha256")


class _BadRequestError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def _relay(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name in ("Content-Type", "Content-Length"):
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    await response.prepare(request)
    try:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        logger.warning("answer broke off", extra={"reason": type(error).__name__})
        if request.transport:
            request.transport.abort()  # half an answer is out: only this tells the client
        return response
    await response.write_eof()
    return response


def _call_error(error: CallError) -> web.Response:
    if isinstance(error, WorkerRefusedError):
        return _worker_error(error)
    if isinstance(error, RouteRefusedError):
        status = error.http_status if error.http_status >= 400 else 502
        return _error(status, str(error), "invalid_request_error")
    status = 503 if isinstance(error, WaitTimeoutError) else 502
    return _error(status, str(error), "server_error")


def _worker_error(error: WorkerRefusedError) -> web.Response:
    """The model server's own error as it is; the PyWorker's put into OpenAI's form."""
    try:
        body = json.loads(error.body)
    except ValueError:
        body = error.body[:500].decode(errors="replace")
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return web.json_response(body, status=error.http_status)
    told = body["error"] if isinstance(body, dict) and set(body) == {"error"} else body
    message = told if isinstance(told, str) else json.dumps(told)
    return _error(error.http_status, message, "invalid_request_error")


def _error(status: int, message: str, kind: str) -> web.Response:
    body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return web.json_response(body, status=status)


PROXY = web.AppKey("proxy", Proxy)


async def _call(request: web.Request) -> web.StreamResponse:
    return await request.app[PROXY].call(request)


async def _models(request: web.Request) -> web.StreamResponse:
    return await request.app[PROXY].models(request)


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


def make_application(settings: ProxySettings) -> web.Application:
    """The proxy as an aiohttp application; run it with handler cancellation on."""
    app = web.Application(client_max_size=MAX_BODY)

    async def connections(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
        ) as http:
            app[PROXY] = Proxy(settings, Upstream(settings.url, http))
            yield

    app.cleanup_ctx.append(connections)
    for prefix in ("", "/{endpoint}"):
        for route in ROUTES:
            app.router.add_post(prefix + route, _call)
        app.router.add_get(prefix + "/v1/models", _models)
    app.router.add_get("/health", _health)
    return app
