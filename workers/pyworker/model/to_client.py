"""Writing answers to clients, for as long as they go on reading."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

from aiohttp import web

from workers.pyworker.back_end import JsonObject

CLIENT_STALL_S = 60.0
"""A client that takes nothing for so long is cut: it holds a place in the GPU's batch."""
TAKEN_AT_ONCE = 2**14
"""Bytes that an empty buffer takes without waiting for the client: asyncio's holds 64 KiB."""


class ClientGoneError(Exception):
    """The client closed the connection before it had the whole answer, or stopped reading it."""


async def to_client(request: web.Request, write: Awaitable[object], n_bytes: int = 0) -> None:
    """Write `n_bytes` to a client, for as long as it goes on reading.

    Raises:
        ClientGoneError: it left, or took nothing for CLIENT_STALL_S.
    """
    transport = request.transport
    try:
        if transport and n_bytes <= TAKEN_AT_ONCE and not transport.get_write_buffer_size():
            await write  # waits for nobody, and needs no clock
            return
        async with asyncio.timeout(CLIENT_STALL_S):
            await write
    except (ConnectionError, TimeoutError) as error:
        raise ClientGoneError from error


async def send_whole(response: web.Response, request: web.Request) -> None:
    """Head and body in one piece."""
    await response.prepare(request)
    await response.write_eof()


class Events:
    """The answer of a job as server-sent events, begun with the first one."""

    def __init__(self, request: web.Request, *, is_wanted: bool) -> None:
        self._request = request
        self._is_wanted = is_wanted
        self.response: web.StreamResponse | None = None

    async def tell(self, event: JsonObject) -> None:
        """One event, if the client wants any."""
        if not self._is_wanted:
            return
        if self.response is None:
            self.response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
            )
            await to_client(self._request, self.response.prepare(self._request))
        data = f"data: {json.dumps(event)}\n\n".encode()
        await to_client(self._request, self.response.write(data), len(data))

    async def end(self, event: JsonObject) -> None:
        """The last event."""
        await self.tell(event)
        if self.response:
            await to_client(self._request, self.response.write(b"data: [DONE]\n\n"))
            await to_client(self._request, self.response.write_eof())
