"""`/model_log`: the model server's log for who manages the group, to the end or live.

A log holds what clients wrote and how the model was started. Only a ticket that the control plane
gives for it, and that opens no other route, is accepted (`chalicelib.wire.ticket`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from workers.pyworker.back_end import JsonObject
from workers.pyworker.model.model_log import POLL_S, LogTail
from workers.pyworker.model.to_client import ClientGoneError, to_client
from workers.pyworker.reporting.problem import ProblemError
from workers.pyworker.serving.envelope import EnvelopeError, HeavyPayload, parse_envelope
from workers.pyworker.serving.facade import Facade

MAX_READERS = 4
MAX_FOLLOWED_S = 3600.0
MAX_TAIL_BYTES = 2**20
MAX_ASKED = 16 * 2**10
DEFAULT_LINES = 100
BEFORE = b"--- before the model server was last started ---\n"
SINCE = b"--- since the model server was last started ---\n"


class LogRoute:
    """Serves one log to a few readers at once."""

    def __init__(self, facade: Facade, log: Path | None) -> None:
        self._facade = facade
        self._log = log
        self._n_readers = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Text: the last `tail` lines, and with `follow` what is added, for an hour at most.

        Raises:
            ProblemError: no such ticket, no log, or too many readers.
            EnvelopeError: the request is malformed.
        """
        body = await self._facade.parts.bodies.body(request, self._facade.is_good)
        if len(body) > MAX_ASKED:
            raise ProblemError.of(413, f"the body is larger than {MAX_ASKED >> 10} KiB")
        envelope = parse_envelope(body)
        if isinstance(envelope.payload, HeavyPayload):
            raise TypeError("only large bodies are parsed elsewhere")
        n_lines = _n_lines(envelope.payload)
        await self._facade.admit_reader(request, envelope.auth_data)
        if self._log is None:
            raise ProblemError.of(404, "this worker has no MODEL_LOG")
        if self._n_readers >= MAX_READERS:
            raise ProblemError.of(429, f"{MAX_READERS} others read this log already")
        self._n_readers += 1
        try:
            return await self._send(
                request, self._log, n_lines, follows=envelope.payload.get("follow") is True
            )
        except ClientGoneError as error:
            raise ProblemError.of(499, "the client closed the connection") from error
        finally:
            self._n_readers -= 1

    async def _send(
        self, request: web.Request, log: Path, n_lines: int, *, follows: bool
    ) -> web.StreamResponse:
        tail = LogTail(log)
        await asyncio.to_thread(tail.skip_to_end)
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await to_client(request, response.prepare(request))
        lines = await asyncio.to_thread(last_lines, log, n_lines, tail.offset)
        await to_client(request, response.write(lines), len(lines))
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + MAX_FOLLOWED_S
        while follows and loop.time() < ends_at:
            n_starts = tail.n_starts
            added = await asyncio.to_thread(tail.read_lines)
            if tail.n_starts != n_starts:
                await to_client(request, response.write(SINCE), len(SINCE))
            if added:
                text = "".join(f"{line}\n" for line in added).encode()
                await to_client(request, response.write(text), len(text))
            else:
                await asyncio.sleep(POLL_S)
        await to_client(request, response.write_eof())
        return response


def last_lines(log: Path, n_lines: int, up_to: int) -> bytes:
    """The last lines before this place; where they are few, with those of the start before."""
    lines = _tail(log, n_lines, up_to)
    if len(lines) >= n_lines:
        return b"".join(lines)
    older = _tail(log.with_name(log.name + ".old"), n_lines - len(lines), None)
    return b"".join([BEFORE, *older, SINCE, *lines] if older else lines)


def _tail(path: Path, n_lines: int, up_to: int | None) -> list[bytes]:
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2) if up_to is None else up_to
            start = max(end - MAX_TAIL_BYTES, 0)
            file.seek(start)
            lines = file.read(end - start).splitlines(keepends=True)
    except OSError:
        return []
    return lines[-n_lines:] if n_lines else []


def _n_lines(payload: JsonObject) -> int:
    value = payload.get("tail", DEFAULT_LINES)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100_000:
        wrong = f"must be a whole number from 0 to 100,000, not {value!r:.40}"
        raise EnvelopeError({"payload": {"tail": wrong}})
    return value
