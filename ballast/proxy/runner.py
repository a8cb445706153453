"""What runs the proxy: bodies stay as they came, and aiohttp's own errors are in OpenAI's form.

What is no HTTP, a head over 8 kB or an odd `Expect` never reaches a handler or a middleware, and is
answered in plain text by aiohttp; a handler that reads a body with a bad chunk would wait for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ballast.proxy.errors import error_response

MAX_WORDS = 200
"""Of what aiohttp says of bytes that it cannot read: it quotes them."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Protocol(web.RequestHandler):
    """One connection."""

    def data_received(self, data: bytes) -> None:
        """Also tells a handler that the body which it reads broke off; aiohttp lets it wait."""
        super().data_received(data)
        request = self._current_request
        if self._messages and request is not None and not request.content.is_eof():
            error = getattr(self._messages[-1][0], "exc", None)
            if isinstance(error, HttpProcessingError):
                request.content.set_exception(error)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp cannot read, or a handler did not expect; it closes the connection."""
        if isinstance(exc, HttpProcessingError):
            status, message = exc.code, exc.message
        super().handle_error(request, status, exc, message)
        words = " ".join((message or "").split())[:MAX_WORDS]
        refused = _refused(status, words or "the proxy could not serve this request")
        refused.force_close()
        return refused


class _Server(web.Server):
    """Makes the connections of what AppRunner made."""

    def __init__(self, made: web.Server, **of_connections: Any) -> None:
        super().__init__(
            _told(made.request_handler),
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
        )
        self._of_connections = of_connections

    def __call__(self) -> _Protocol:
        """A new one."""
        return _Protocol(self, loop=asyncio.get_running_loop(), **self._of_connections)


class ProxyRunner(web.AppRunner):
    """As AppRunner: `shutdown_timeout` is what answers under way get at the end."""

    def __init__(self, app: web.Application, shutdown_timeout: float) -> None:
        super().__init__(app, handler_cancellation=True, shutdown_timeout=shutdown_timeout)

    async def _make_server(self) -> web.Server:
        made: Any = await super()._make_server()
        # Nothing is inflated for anybody.
        return _Server(made, access_log=None, auto_decompress=False)


def _told(handler: Handler) -> Handler:
    """Refusals from before the middlewares, as of an `Expect`."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPRedirection:
            raise
        except web.HTTPException as error:
            return _refused(error.status, error.text or error.reason)

    return handle


def _refused(status: int, words: str) -> web.Response:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return error_response(status, words, kind)
