"""Reading a request's body so that nobody without a ticket makes the worker work.

Nothing is inflated. A body of up to SCANNED bytes is read and parsed as it is. Of a larger one the
ticket must hold first: from the header TICKET_HEADER, or from `auth_data` in the first or last
SCANNED bytes. Large bodies are parsed outside the serving process, two at a time.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import re
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module

from aiohttp import web

from chalicelib.wire.json_body import LIGHT_BYTES, LIGHT_ELEMENTS, MAX_ELEMENTS, n_elements
from chalicelib.wire.ticket import TICKET_HEADER
from workers.pyworker.back_end import BackEnd, JsonObject, PayloadError, Route
from workers.pyworker.reporting.problem import ProblemError
from workers.pyworker.serving.envelope import Envelope, EnvelopeError, HeavyPayload, parse_envelope

MAX_BODY = 64 * 2**20
SCANNED = 16 * 2**10
MAX_UNPROVEN = 16 * 2**20
"""Bytes of bodies without a ticket so far, of all connections together."""
UNPROVEN_S = 20.0
"""A body without a ticket must have come within this time, or its first SCANNED bytes."""
STALL_S = 60.0
"""A body with one may stop for so long: until it is whole it counts for its ticket."""
MAX_PLACES, MAX_TICKET_CHARS = 4, 4_096
"""Places in a part of a body that may hold the ticket, and its length with room to spare: a ticket
is below 2 kB."""
N_PARSERS = 2
PARSER_MEMORY = 4 * 2**30
_AUTH_DATA = re.compile(r'"auth_data"\s*:\s*(?=\{)')
_TICKET_FIRST = (
    f"a large body needs its ticket first: in the header {TICKET_HEADER}, "
    f"or as auth_data within the first {SCANNED >> 10} KiB"
)

IsGood = Callable[[JsonObject], bool]


class BodyReader:
    """Reads and parses bodies for one PyWorker; `close` ends its helpers."""

    def __init__(self, back_end: BackEnd) -> None:
        self._back_end = back_end
        self._unproven = 0
        self._held: dict[str, int] = {}  # bytes of bodies, by the ticket that proved them
        self._pool: ProcessPoolExecutor | None = None
        self._parsing = asyncio.Semaphore(N_PARSERS)

    async def envelope(self, request: web.Request, route: Route, is_good: IsGood) -> Envelope:
        """The request.

        `is_good` tells whether a ticket would be accepted, without using it up.

        Raises:
            ProblemError: 401, 408, 413, 415 or 429.
            EnvelopeError: it is malformed.
        """
        first = _first_bytes(request)
        if request.content.at_eof() and len(first) <= SCANNED:
            return await self._parsed(first, route)  # most are here with their head
        async with self._whole(request, first, is_good) as body:
            return await self._parsed(body, route)

    async def _parsed(self, body: bytes, route: Route) -> Envelope:
        n = n_elements(body)
        if len(body) <= LIGHT_BYTES and n <= LIGHT_ELEMENTS:
            return parse_envelope(body)
        if n > MAX_ELEMENTS:
            raise ProblemError.of(413, f"the body has more than {MAX_ELEMENTS:,} elements")
        if route.job or route.convert or route.is_form:
            return await asyncio.to_thread(parse_envelope, body)
        return await self._parsed_outside(body, route)

    async def body(self, request: web.Request, is_good: IsGood) -> bytes:
        """The whole body, once its ticket holds or it is small.

        Raises:
            ProblemError: 401, 408, 413, 415 or 429.
        """
        async with self._whole(request, _first_bytes(request), is_good) as body:
            return body

    @asynccontextmanager
    async def _whole(
        self, request: web.Request, first: bytes, is_good: IsGood
    ) -> AsyncIterator[bytes]:
        """The body that begins so, which counts for its ticket until it is parsed.

        A ticket proves one at a time: it is used up only then, and its holder could send any
        number side by side.
        """
        body = bytearray(first)
        ticket = request.headers.get(TICKET_HEADER, "")
        if ticket and is_good({"signature": ticket}):
            with self._held_for(ticket, request):
                yield await _read(request, body, MAX_BODY)
            return
        if not request.content.at_eof():
            await _read_first(request, body)
        if len(body) <= SCANNED:
            yield bytes(body)
        elif ticket := _good_ticket(body[:SCANNED], is_good):
            with self._held_for(ticket, request):
                yield await _read(request, body, MAX_BODY)
        else:
            yield await self._unproven_body(request, body, is_good)

    @contextmanager
    def _held_for(self, ticket: str, request: web.Request) -> Iterator[None]:
        """Count a body for its ticket.

        Raises:
            ProblemError: 429, this ticket's others are as large as one may be.
        """
        n_bytes = request.content_length or MAX_BODY
        if self._held.get(ticket, 0) + n_bytes > MAX_BODY:
            raise ProblemError.of(429, f"bodies of {MAX_BODY >> 20} MB at once under one ticket")
        self._held[ticket] = self._held.get(ticket, 0) + n_bytes
        try:
            yield
        finally:
            self._held[ticket] -= n_bytes
            if self._held[ticket] <= 0:
                del self._held[ticket]

    async def _unproven_body(self, request: web.Request, body: bytearray, is_good: IsGood) -> bytes:
        """A body whose ticket may stand at its end."""
        room = MAX_UNPROVEN - self._unproven
        if (request.content_length or len(body)) > room:
            raise ProblemError.of(413, _TICKET_FIRST)
        self._unproven += (reserved := request.content_length or room)
        try:
            async with asyncio.timeout(UNPROVEN_S):
                whole = await _read(request, body, reserved)
        except TimeoutError as error:
            raise ProblemError.of(408, "the request took too long") from error
        finally:
            self._unproven -= reserved
        if not _good_ticket(whole[-SCANNED:], is_good, from_end=True):
            raise ProblemError.of(401, f"no valid ticket; {_TICKET_FIRST}")
        return whole

    async def _parsed_outside(self, body: bytes, route: Route) -> Envelope:
        module = self._back_end.module or f"workers.{self._back_end.name}.server"
        async with self._parsing:
            self._pool = self._pool or ProcessPoolExecutor(
                N_PARSERS,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_prepare_parser,
            )
            loop = asyncio.get_running_loop()
            try:
                found = await loop.run_in_executor(self._pool, digest, body, module, route.path)
            except BrokenProcessPool as error:
                self.close()
                raise ProblemError.of(413, "the body is too large to be parsed") from error
        if isinstance(found, dict):
            raise EnvelopeError(found)
        return found

    def close(self) -> None:
        """End the helpers."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def digest(body: bytes, module: str, path: str) -> Envelope | dict[str, object]:
    """In a helper process: the request with its payload as bytes and its cost, or what is wrong."""
    try:
        envelope = parse_envelope(body)
        if isinstance(envelope.payload, HeavyPayload):
            return envelope
        workload = import_module(module).BACK_END.route(path).workload(envelope.payload)
    except EnvelopeError as error:
        return dict(error.fields)
    except PayloadError as error:
        return {"payload": error.fields}
    except MemoryError:
        return {"error": "the body is too large to be parsed"}
    data = json.dumps(envelope.payload, separators=(",", ":")).encode()
    return Envelope(envelope.auth_data, HeavyPayload(data, workload), envelope.session_id)


def _prepare_parser() -> None:
    """A helper has bounded memory and ends with the worker."""
    resource.setrlimit(resource.RLIMIT_AS, (PARSER_MEMORY, PARSER_MEMORY))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _first_bytes(request: web.Request) -> bytes:
    """What has come of the body already.

    Raises:
        ProblemError: 413 or 415, its head says that it is too large, or packed.
    """
    if request.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise ProblemError.of(415, "bodies are not inflated: send it without Content-Encoding")
    if (request.content_length or 0) > MAX_BODY:
        raise ProblemError.of(413, f"the body is larger than {MAX_BODY >> 20} MB")
    return request.content.read_nowait()


async def _read_first(request: web.Request, body: bytearray) -> None:
    """The rest of a small body, or so much of a large one that its ticket may be in it."""
    try:
        async with asyncio.timeout(UNPROVEN_S):
            while len(body) <= SCANNED and (chunk := await request.content.readany()):
                body += chunk
    except TimeoutError as error:
        raise ProblemError.of(408, "the request took too long") from error


async def _read(request: web.Request, body: bytearray, limit: int) -> bytes:
    while chunk := await _next(request, STALL_S):
        body += chunk
        if len(body) > limit:
            raise ProblemError.of(413, f"the body is larger than {limit >> 20} MB")
    return bytes(body)


async def _next(request: web.Request, stall_s: float) -> bytes:
    """More of a body; nothing at its end.

    Raises:
        ProblemError: 408, it stopped in the middle.
    """
    try:
        async with asyncio.timeout(stall_s):
            return await request.content.readany()
    except TimeoutError as error:
        raise ProblemError.of(408, "the request took too long") from error


def _good_ticket(part: bytes | bytearray, is_good: IsGood, *, from_end: bool = False) -> str:
    """The signature of the good ticket in this part of a body; "" if there is none.

    Few places are looked at, and no further than a ticket is long: 16 KiB of nested `auth_data`
    took 0.7 s, of anybody's.
    """
    text = bytes(part).decode(errors="replace")
    places = [found.end() for found in _AUTH_DATA.finditer(text)]
    for at in places[-MAX_PLACES:][::-1] if from_end else places[:MAX_PLACES]:
        try:
            auth_data, _ = json.JSONDecoder().raw_decode(text[at : at + MAX_TICKET_CHARS])
        except (ValueError, RecursionError):
            continue
        if isinstance(auth_data, dict):  # one is enough: a second try would be a guess
            signature = auth_data.get("signature")
            return signature if isinstance(signature, str) and is_good(auth_data) else ""
    return ""
