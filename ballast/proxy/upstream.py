"""The two steps, for asyncio: route and wait, then post to the worker. Needs aiohttp."""

from __future__ import annotations

import asyncio
import io
import json
import random
from dataclasses import dataclass

import aiohttp

from ballast.client.call_progress import CallProgress
from ballast.client.errors import RouteRefusedError
from ballast.client.route_reply import Grant, Manner, Waiting, parse_route_reply, route_body
from ballast.proxy.reading import Prepared
from chalicelib.wire.trace import HEADER

ROUTE_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request to pass on."""

    api_key: str
    endpoint: str
    route: str
    prepared: Prepared
    timeout_s: float
    traceparent: str = ""


class Upstream:
    """Connections to one control plane and its workers."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._http = http
        self._rng = random.Random()

    async def open(self, call: Call) -> aiohttp.ClientResponse:
        """A worker's answer, its body still to be read; the caller closes it.

        Raises:
            CallError: see `ballast.client.errors`.
        """
        now = asyncio.get_running_loop().time
        progress = CallProgress(call.timeout_s, now(), self._rng, call.traceparent)
        while True:
            grant = await self._granted(progress, call)
            try:
                answer = await self._post(grant, call, progress)
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(progress.take_worker_failure(now()))
                continue
            if answer.status < 400:
                return answer
            try:
                async with asyncio.timeout(progress.left_s(now())):
                    body = await answer.read()
            except (aiohttp.ClientError, TimeoutError):  # an error that breaks off: a lost worker
                await asyncio.sleep(progress.take_worker_failure(now()))
                continue
            await asyncio.sleep(progress.take_error(answer.status, answer.headers, body, now()))

    async def _granted(self, progress: CallProgress, call: Call) -> Grant:
        now = asyncio.get_running_loop().time
        while True:
            asked_at = now()
            try:
                reply = await self._route(call, progress)
            except RouteRefusedError as error:
                pause_s = progress.take_refusal(error, asked_at, now())
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = f"{self._url} does not answer ({type(error).__name__})"
                pause_s = progress.take_silence(problem, asked_at, now())
            else:
                if isinstance(reply, Grant):
                    progress.take_grant(reply, asked_at, now())
                    return reply
                pause_s = progress.take_waiting(reply, asked_at, now())
            await asyncio.sleep(pause_s)

    async def _route(self, call: Call, progress: CallProgress) -> Grant | Waiting:
        left_s = progress.left_s(asyncio.get_running_loop().time())
        async with self._http.post(
            f"{self._url}/route/",
            json=route_body(
                call.endpoint,
                call.prepared.cost,
                progress.request_idx,
                Manner(affinity=call.prepared.affinity, route=call.route),
            ),
            headers={"Authorization": f"Bearer {call.api_key}", HEADER: progress.traceparent},
            timeout=aiohttp.ClientTimeout(total=min(ROUTE_TIMEOUT_S, left_s)),
        ) as answer:
            return parse_route_reply(answer.status, await answer.text())

    async def _post(
        self, grant: Grant, call: Call, progress: CallProgress
    ) -> aiohttp.ClientResponse:
        """POST to the worker: the ticket and the payload, never the key."""
        left_s = progress.left_s(asyncio.get_running_loop().time())
        pinned, ticket = grant.certificate_sha256, json.dumps(grant.auth_data).encode()
        async with asyncio.timeout(left_s):  # for its head; a read of its body has as long
            return await self._http.post(
                grant.url + call.route,
                # In pieces: aiohttp would send large bytes at one go, and warns of it.
                data=io.BytesIO(b'{"auth_data": %b, "payload": %b}' % (ticket, call.prepared.data)),
                headers={
                    "Content-Type": "application/json",
                    HEADER: progress.traceparent,
                    **grant.ticket_header,
                },
                ssl=aiohttp.Fingerprint(bytes.fromhex(pinned)) if pinned else True,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=left_s),
                allow_redirects=False,
            )
