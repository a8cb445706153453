"""Passing a request on to the model server and its answer back, chunk by chunk."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from chalicelib.wire.model_answers import (
    FAILED_GENERATION,
    MODEL_ANSWER,
    MODEL_SERVER,
    SERVED_MODELS,
    passed_headers,
)
from chalicelib.wire.trace import HEADER, STATE_HEADER
from workers.pyworker.back_end import JsonObject, ModelAnswerError, Route
from workers.pyworker.model.answers import (
    AnswerReader,
    PromptRead,
    is_readable,
    plain,
)
from workers.pyworker.model.asking import CONNECT_S, ModelLostError, WholeAnswer, ask
from workers.pyworker.model.forms import form_of
from workers.pyworker.model.jobs import JobFailedError
from workers.pyworker.model.life import DEFAULT_PATIENCE, Life, Patience
from workers.pyworker.model.to_client import ClientGoneError, Events, send_whole, to_client
from workers.pyworker.reporting.load_ledger import Outcome
from workers.pyworker.reporting.problem import ProblemError
from workers.pyworker.reporting.tracing import SPAN
from workers.pyworker.serving.envelope import HeavyPayload, Payload

TRACE_HEADERS = (HEADER, STATE_HEADER)
RELAYED = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
"""Silence is watched for all requests together (`Life.break_silent`): a timer for each piece of an
answer was a fifth of what the piece cost."""
WORDS_KEPT = 4096
MAX_NAMES_TOLD = 2000
"""Characters of them on each answer: clients refuse a head of 8 kB."""


class RedirectedError(Exception):
    """The model server answered with a redirect, which nobody may follow with a client's prompt."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended, the load really done, and what of its prompt was cached.

    None: the answer does not tell. `is_broken`: no whole answer came.
    """

    outcome: Outcome
    work: float | None = None
    prompt: PromptRead | None = None
    is_broken: bool = False


class Forwarder:
    """The way to one model server."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        model_server_url: str,
        patience: Patience = DEFAULT_PATIENCE,
    ) -> None:
        self._http = http
        self.url = model_server_url
        self.life = Life(patience)
        self.served_models: tuple[str, ...] = ()
        self.server_name = ""
        self._telling: set[str] = set()  # routes whose answers tell how much was made

    async def forward(
        self,
        request: web.Request,
        route: Route,
        payload: Payload,
        on_reader: Callable[[AnswerReader], None],
    ) -> tuple[web.StreamResponse, Ended]:
        """Serve `payload`; leaving early (cancellation) closes the model's connection too.

        `on_reader` gets what follows the answer, so that work done for a client that left is known.

        Raises:
            ProblemError: the model server cannot be reached (502), or gave no usable result (422).
            PayloadError: a file in the payload is none.
            ClientGoneError: the client left while the answer was being written.
        """
        now = asyncio.get_running_loop().time
        try:
            with self.life.call(now()):
                if route.job and not isinstance(payload, HeavyPayload):
                    response, ended = await self._run_job(request, route, payload)
                else:
                    response, ended = await self._pass_on(request, route, payload, on_reader)
        except RedirectedError as error:
            self.life.lost(now())
            raise ProblemError.of(502, "the model server sends the request elsewhere") from error
        except (aiohttp.ClientError, TimeoutError, ModelLostError) as error:
            self.life.lost(now())
            raise ProblemError.of(502, "the model server did not answer") from error
        self._note(route, ended, now())
        return response, ended

    def _note(self, route: Route, ended: Ended, now: float) -> None:
        """What an answer says of the model server's life.

        One that tells no work, where others of its route did, and one that says "full" although
        nothing else of ours is there, may be a dead engine's; a request of our own settles it.
        """
        if ended.outcome is Outcome.REFUSED:
            self.life.refused()
            return
        is_silent = ended.outcome is Outcome.SERVED and not ended.work and route.job is None
        is_mute = is_silent and route.path in self._telling
        if ended.work:
            self._telling.add(route.path)
        is_full = ended.outcome is Outcome.REJECTED
        if is_full and self.life.n_open:
            return
        is_failure = ended.outcome is Outcome.ERRORED or is_mute or is_full
        self.life.ended(now, is_well=not is_failure)

    async def _pass_on(
        self,
        request: web.Request,
        route: Route,
        payload: Payload,
        on_reader: Callable[[AnswerReader], None],
    ) -> tuple[web.StreamResponse, Ended]:
        headers = _trace_headers(request)
        data: bytes | io.BytesIO | aiohttp.FormData
        if isinstance(payload, HeavyPayload):
            data = io.BytesIO(payload.data)  # sent piece by piece
        else:
            body = route.convert(payload) if route.convert else payload
            data = form_of(body) if route.is_form else json.dumps(body).encode()
        if not isinstance(data, aiohttp.FormData):
            headers["Content-Type"] = "application/json"
        url = self.url + route.model_path
        async with self._http.post(
            url, data=data, headers=headers, allow_redirects=False, timeout=RELAYED
        ) as answer:
            if 300 <= answer.status < 400:
                raise RedirectedError
            if answer.status < 200:
                raise ModelLostError  # "another protocol from here on" is no answer
            if route.respond and answer.status == 200:
                return await _whole(answer, route), Ended(Outcome.SERVED)
            reader = _reader_of(answer, route)
            if reader:
                on_reader(reader)
            return await self._relay(request, answer, route, reader)

    async def _run_job(
        self, request: web.Request, route: Route, payload: JsonObject
    ) -> tuple[web.StreamResponse, Ended]:
        """A job's events go out as server-sent events to clients that ask with `stream: true`."""
        if route.job is None:
            raise TypeError("only routes with a job run one")
        events = Events(request, is_wanted=payload.get("stream") is True)
        try:
            result = await route.job(self._http, self.url, payload, events.tell)
        except JobFailedError as error:
            outcome = Outcome.REFUSED if error.is_clients else Outcome.ERRORED
            if events.response:
                await events.end({"error": error.body})
                return events.response, Ended(outcome, 0.0)
            answer = web.json_response(error.body, status=error.status)
            answer.headers[MODEL_ANSWER] = "1"
            return answer, Ended(outcome, 0.0)
        if events.response:
            await events.end(result.answer)
            return events.response, Ended(Outcome.SERVED, result.work)
        data = await asyncio.to_thread(json.dumps, result.answer)
        response = web.Response(text=data, content_type="application/json")
        return response, Ended(Outcome.SERVED, result.work)

    async def _relay(
        self,
        request: web.Request,
        answer: aiohttp.ClientResponse,
        route: Route,
        reader: AnswerReader | None,
    ) -> tuple[web.StreamResponse, Ended]:
        headers = passed_headers(answer.headers)
        if names := _names_told(self.served_models):
            headers.append((SERVED_MODELS, names))
        if self.server_name:
            headers.append((MODEL_SERVER, self.server_name))
        if answer.status >= 400:
            headers.append((MODEL_ANSWER, "1"))
        first = answer.content.read_nowait()
        if not answer.content.at_eof():
            response = web.StreamResponse(status=answer.status, headers=headers)
            return response, await self._relay_parts(
                request, answer, route, reader, response, first
            )
        if reader:
            reader.feed(first)
        ended = _judge(answer.status, reader, first[:WORDS_KEPT], route)
        if ended.is_broken:
            raise ModelLostError  # nothing is out: another worker may serve it
        whole = web.Response(status=answer.status, headers=headers, body=first)
        await to_client(request, send_whole(whole, request), len(first))
        return whole, ended

    async def _relay_parts(
        self,
        request: web.Request,
        answer: aiohttp.ClientResponse,
        route: Route,
        reader: AnswerReader | None,
        response: web.StreamResponse,
        first: bytes,
    ) -> Ended:
        """Pass an answer on as it comes; of half an answer only a broken connection tells."""
        words = bytearray()
        try:
            await to_client(request, response.prepare(request))
            async for chunk in _chunks(answer, first):
                if answer.status < 400:
                    self.life.byte(asyncio.get_running_loop().time())
                if reader:
                    reader.feed(chunk)
                elif answer.status >= 400 and len(words) < WORDS_KEPT:
                    words += chunk[:WORDS_KEPT]
                await to_client(request, response.write(chunk), len(chunk))
            ended = _judge(answer.status, reader, bytes(words), route)
            if not ended.is_broken:
                await to_client(request, response.write_eof())
                return ended
        except ModelLostError:
            ended = Ended(Outcome.ERRORED, reader.done().work if reader else None)
        except (ClientGoneError, asyncio.CancelledError):
            _abort(request)
            raise
        _abort(request)
        return ended

    async def post(self, path: str, body: JsonObject, timeout_s: float) -> int:
        """POST to the model server outside of any client's request; the status.

        Raises:
            ModelLostError: no answer.
        """
        return (await self.ask(path, body, timeout_s)).status

    async def ask(self, path: str, body: JsonObject | None, timeout_s: float) -> WholeAnswer:
        """POST a body (GET without one) and read the whole answer.

        Raises:
            ModelLostError: no answer.
        """
        return await ask(self._http, self.url, path, body, timeout_s)

    async def run_job(self, route: Route, payload: JsonObject, timeout_s: float) -> float | None:
        """Run a job of our own; the load done.

        Raises:
            ModelLostError: the model server is gone, or took too long.
            JobFailedError: it did not do it.
        """
        if route.job is None:
            raise TypeError("only routes with a job run one")
        try:
            async with asyncio.timeout(timeout_s):
                return (await route.job(self._http, self.url, payload, _tell_nobody)).work
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ModelLostError(type(error).__name__) from error

    async def health(self, path: str, timeout_s: float = 5.0) -> bool:
        """Whether the model server's health route answers 200."""
        try:
            return (await self.ask(path, None, timeout_s)).status == 200
        except ModelLostError:
            return False


def _names_told(names: Iterable[str]) -> str:
    """The first names, separated by commas, none of them cut."""
    told = ""
    for name in names:
        longer = f"{told},{name}" if told else name
        if len(longer) > MAX_NAMES_TOLD:
            break
        told = longer
    return told


async def _tell_nobody(_event: JsonObject) -> None:
    return


def _reader_of(answer: aiohttp.ClientResponse, route: Route) -> AnswerReader | None:
    if route.read is None or answer.status >= 400 or not is_readable(answer.headers):
        return None
    return route.read(answer.headers)


def _judge(status: int, reader: AnswerReader | None, words: bytes, route: Route) -> Ended:
    """What an answer that came whole is worth in the books."""
    if status < 400:
        if reader is None:
            return Ended(Outcome.SERVED)
        done = reader.done()
        if not done.error:
            return Ended(Outcome.SERVED, done.work, done.prompt)
        outcome = outcome_of_error(done.error_status, done.error.encode(), route)
        return Ended(outcome, done.work, done.prompt, done.is_broken)
    return Ended(outcome_of_error(status, words, route), 0.0)


def outcome_of_error(status: int, words: bytes, route: Route) -> Outcome:
    """Whose error it is: a full server's, the client's, or the server's own."""
    if status == 429 or (status == 503 and route.is_busy(words)):
        return Outcome.REJECTED
    is_refusal = (status < 500 and status != FAILED_GENERATION) or status == 501
    if is_refusal or route.is_clients_fault(words):
        return Outcome.REFUSED
    return Outcome.ERRORED


def _trace_headers(request: web.Request) -> dict[str, str]:
    """Whose request this is: model servers that speak OpenTelemetry go on with it."""
    headers = {name: request.headers[name] for name in TRACE_HEADERS if name in request.headers}
    span = request.get(SPAN)
    return headers | ({HEADER: span.traceparent} if span and span.traceparent else {})


async def _whole(answer: aiohttp.ClientResponse, route: Route) -> web.Response:
    if route.respond is None:
        raise TypeError("only routes that rewrite answers read them whole")
    data = plain(answer.headers, await answer.read())
    try:
        body = await asyncio.to_thread(route.respond, data)
    except ModelAnswerError as error:
        raise ProblemError.of(422, str(error)) from error
    return web.Response(body=body, content_type="application/json")


async def _chunks(answer: aiohttp.ClientResponse, first: bytes) -> AsyncIterator[bytes]:
    try:
        if first:
            yield first
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ModelLostError(type(error).__name__) from error


def _abort(request: web.Request) -> None:
    if request.transport:
        request.transport.abort()
