"""Passing a request on to the model server and its answer back, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import aiohttp
from aiohttp import web

from chalicelib.wire.trace import HEADER, STATE_HEADER
from workers.pyworker.back_end import JsonObject, ModelAnswerError, Route
from workers.pyworker.reporting.load_ledger import Outcome
from workers.pyworker.reporting.problem import ProblemError

TRACE_HEADERS = (HEADER, STATE_HEADER)
MODEL_SILENCE_S = 1800.0
"""A model server that sends nothing for so long has lost the request."""
IDLE_CONNECTION_S = 2.0
"""Shorter than any model server's own, so that a kept connection is never closed under us."""


class ModelLostError(Exception):
    """The model server refused or broke the connection."""


class ClientGoneError(Exception):
    """The client closed the connection before it had the whole answer."""


def open_model_session() -> aiohttp.ClientSession:
    """A connection pool to the model server; whoever opens it closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=MODEL_SILENCE_S),
        headers={"Accept-Encoding": "identity"},  # bytes pass through as they are
        auto_decompress=False,
        trust_env=False,
    )


class Forwarder:
    """The way to one model server."""

    def __init__(self, http: aiohttp.ClientSession, model_server_url: str) -> None:
        self._http = http
        self._url = model_server_url

    async def forward(
        self, request: web.Request, route: Route, payload: JsonObject
    ) -> tuple[web.StreamResponse, Outcome]:
        """Serve `payload`; leaving early (cancellation) closes the model's connection too.

        Raises:
            ProblemError: the model server cannot be reached (502), or gave no usable result (422).
            ClientGoneError: the client left while the answer was being written.
        """
        body = route.convert(payload) if route.convert else payload
        try:
            async with self._http.post(
                self._url + route.model_path, json=body, headers=_trace_headers(request)
            ) as answer:
                if route.respond and answer.status == 200:
                    return await _whole(answer, route), Outcome.SERVED
                return await _relay(request, answer)
        except (aiohttp.ClientError, TimeoutError, ModelLostError) as error:
            raise ProblemError.of(502, "the model server did not answer") from error

    async def post(self, path: str, body: JsonObject, timeout_s: float) -> int:
        """POST to the model server outside of any client's request; the status.

        Raises:
            ModelLostError: no answer.
        """
        try:
            async with self._http.post(
                self._url + path, json=body, timeout=aiohttp.ClientTimeout(total=timeout_s)
            ) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ModelLostError(type(error).__name__) from error

    async def health(self, path: str, timeout_s: float = 5.0) -> bool:
        """Whether the model server's health route answers 200."""
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http.get(self._url + path, timeout=timeout) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False


def _trace_headers(request: web.Request) -> dict[str, str]:
    """Whose request this is: model servers that speak OpenTelemetry go on with it."""
    return {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}


async def _whole(answer: aiohttp.ClientResponse, route: Route) -> web.Response:
    if route.respond is None:
        raise TypeError("only routes that rewrite answers read them whole")
    data = await answer.read()
    try:
        body = await asyncio.to_thread(route.respond, data)
    except ModelAnswerError as error:
        raise ProblemError.of(422, str(error)) from error
    return web.Response(body=body, content_type="application/json")


async def _relay(
    request: web.Request, answer: aiohttp.ClientResponse
) -> tuple[web.StreamResponse, Outcome]:
    response = web.StreamResponse(status=answer.status)
    for name in ("Content-Type", "Content-Length", "Cache-Control"):
        if name in answer.headers:
            response.headers[name] = answer.headers[name]
    await _to_client(response.prepare(request))
    try:
        async for chunk in _chunks(answer):
            await _to_client(response.write(chunk))
        await _to_client(response.write_eof())
    except ModelLostError:
        # Half an answer is out: only a broken connection tells the client so.
        if request.transport:
            request.transport.abort()
        return response, Outcome.ERRORED
    return response, Outcome.SERVED if answer.status < 500 else Outcome.ERRORED


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ModelLostError(type(error).__name__) from error


async def _to_client(write: Awaitable[object]) -> None:
    try:
        await write
    except ConnectionError as error:
        raise ClientGoneError from error
