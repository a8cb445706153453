"""`Client`: call an endpoint group as if it were one server.

    client = Client("blk.…", url="https://ballast.example.com")
    answer = client.request("TGI-Llama3", "/generate", {"inputs": "Hi"}, cost=256)
    print(answer.json())
    with client.stream("TGI-Llama3", "/generate_stream", {"inputs": "Hi"}, cost=256) as answer:
        for chunk in answer.chunks():
            ...

Each call is routed, waits as long as the control plane asks it to, goes straight to the worker, and
is tried again elsewhere (with the same `request_idx`, so it counts as one request) when a worker
fails before it has begun to answer. The key goes to the control plane alone.
"""

from __future__ import annotations

import json
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import requests

from ballast.client.affinity import affinity_of
from ballast.client.affinity_secret import affinity_secret
from ballast.client.call_progress import CallProgress, CallTrace
from ballast.client.errors import (
    NO_KEY,
    CallError,
    CannotResumeError,
    ModelFailedError,
    RouteRefusedError,
    StreamBrokenError,
    WorkerRefusedError,
)
from ballast.client.in_band import ErrorWatch
from ballast.client.resume import Continuation, Resume, is_events
from ballast.client.route_reply import Grant, Manner, Waiting
from ballast.client.transport import Transport, WorkerUnreachableError
from ballast.tracing import CallSpan

DEFAULT_COST = 100.0


class _Closing(ABC):
    """Closed at the end of a `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Answer(_Closing):
    """A worker's answer; a context manager, because its body may still be on the way."""

    def __init__(self, response: requests.Response, trace: CallTrace, span: CallSpan) -> None:
        self._response = response
        self._span = span
        self.trace = trace

    @property
    def worker_url(self) -> str:
        """The worker that answers."""
        return self.trace.worker_urls[-1]

    @property
    def content_type(self) -> str:
        """What the body is, as the worker says; "" if it does not."""
        return self._response.headers.get("Content-Type", "")

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            StreamBrokenError: it broke off.
            ModelFailedError: after the last byte, if it says that the model server failed.
        """
        watch = ErrorWatch(self.content_type)
        try:
            for chunk in self._received():
                watch.take(chunk)
                yield chunk
            if words := watch.end():
                raise ModelFailedError(words)
        except CallError as error:
            self._span.end(error)
            raise
        self._span.end()

    def _received(self) -> Iterator[bytes]:
        try:
            yield from self._response.iter_content(chunk_size=None)
        except requests.RequestException as error:
            is_silence = "timed out" in str(error).lower()  # urllib3's words; requests has no type
            why = "its time was over" if is_silence else "its connection ended"
            raise StreamBrokenError(f"the answer broke off: {why}") from error

    def content(self) -> bytes:
        """The whole body.

        Raises:
            CallError: as `chunks`.
        """
        return b"".join(self.chunks())

    def json(self) -> object:
        """The whole body as JSON.

        Raises:
            CallError: as `chunks`.
            ValueError: it is not JSON.
        """
        parsed: object = json.loads(self.content())
        return parsed

    def close(self) -> None:
        """Let go; an unfinished answer is cancelled at the worker."""
        self._response.close()
        self._span.end()


class Client(_Closing):
    """Calls endpoint groups of one control plane; may be shared between threads.

    `pause` waits that many seconds; it may raise StoppedError to end the call.
    """

    def __init__(
        self,
        api_key: str,
        url: str | None = None,
        *,
        worker_ca: str | None = None,
        pause: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        address = url or os.environ.get("BALLAST_URL", "")
        if not address:
            raise ValueError("no control plane: pass url= or set BALLAST_URL")
        if not api_key.isascii():
            raise ValueError(NO_KEY)
        self._transport = Transport(address, api_key, worker_ca)
        self._secret = affinity_secret()
        self._pause = pause
        self._rng = rng or random.Random()

    def route(
        self, endpoint: str, cost: float = DEFAULT_COST, request_idx: int = 0
    ) -> Grant | Waiting:
        """Ask `/route/` once.

        Raises:
            RouteRefusedError: the control plane refuses.
            requests.RequestException: it does not answer.
        """
        return self._transport.route(endpoint, cost, request_idx)

    def request(  # noqa: PLR0913  each is an option that callers name
        self,
        endpoint: str,
        route: str,
        payload: Mapping[str, object],
        *,
        cost: float = DEFAULT_COST,
        timeout_s: float = 600.0,
        traceparent: str = "",
        interruptible: bool = True,
        conversation: str = "",
    ) -> Answer:
        """The answer, open for reading. `traceparent`: of a trace to go on with (W3C).

        `interruptible` False wants a worker that the market does not take away. Requests that begin
        alike go to the same worker while that is worth a wait, by keyed hashes of how the payload
        begins, or of `conversation`, any text that names one. The answer is whole after `timeout_s`
        seconds, or broken off.

        Raises:
            CallError: see `ballast.client.errors`.
        """
        affinity = affinity_of(self._secret, endpoint, payload, conversation)
        manner = Manner(interruptible=interruptible, affinity=affinity, route=route)
        call = self._call(endpoint, route, cost, manner, timeout_s, traceparent)
        return Answer(call.first_answer(payload), call.progress.trace, call.span)

    def stream(  # noqa: PLR0913  each is an option that callers name
        self,
        endpoint: str,
        route: str,
        payload: Mapping[str, object],
        *,
        cost: float = DEFAULT_COST,
        timeout_s: float = 600.0,
        traceparent: str = "",
        interruptible: bool = True,
        resume: Resume = False,
        conversation: str = "",
    ) -> Answer:
        """As `request`, for answers that come bit by bit: long ones prefer workers on demand.

        `timeout_s` is the time for its beginning, and for each pause in it.

        With `resume` a text that breaks off goes on at another worker, which gets the prompt and
        what was received; an SSE comment and `trace.n_resumed` tell it. For chats, where the server
        is vLLM or SGLang: `resume="continue_final_message"`.

        Raises:
            CallError: see `ballast.client.errors`.
            CannotResumeError: this call could not be continued, so `resume` is refused at once.
        """
        continuation = Continuation(route, payload, resume) if resume else None
        affinity = affinity_of(self._secret, endpoint, payload, conversation)
        manner = Manner(interruptible=interruptible, is_stream=True, affinity=affinity, route=route)
        call = self._call(endpoint, route, cost, manner, timeout_s, traceparent)
        response = call.first_answer(payload)
        if continuation is None or not is_events(response.headers):
            return Answer(response, call.progress.trace, call.span)
        if why := continuation.why_not_there(response.headers):
            response.close()
            call.span.end(refused := CannotResumeError(f"{endpoint}: {why}"))
            raise refused
        return ResumedAnswer(response, call, continuation)

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _call(
        self,
        endpoint: str,
        route: str,
        cost: float,
        manner: Manner,
        timeout_s: float,
        traceparent: str,
    ) -> _Call:
        span = CallSpan(endpoint, route, cost, traceparent)
        progress = CallProgress(
            timeout_s, time.monotonic(), self._rng, traceparent, span.traceparent
        )
        return _Call(self, endpoint, route, cost, manner, progress, span)


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way, which may go to several workers."""

    client: Client
    endpoint: str
    route: str
    cost: float
    manner: Manner
    progress: CallProgress
    span: CallSpan

    def first_answer(self, payload: Mapping[str, object]) -> requests.Response:
        """As `answer`; a call that comes to nothing ends its span."""
        try:
            response = self.answer(payload)
        except BaseException as error:
            self.span.end(error)
            raise
        trace = self.progress.trace
        self.span.answered(response.status_code, trace.worker_urls[-1], trace.n_routes)
        return response

    def answer(self, payload: Mapping[str, object]) -> requests.Response:
        """A worker's answer, its body still to be read.

        Raises:
            CallError: see `ballast.client.errors`.
        """
        transport, progress = self.client._transport, self.progress
        while True:
            grant = self._granted()
            try:
                left_s = progress.left_s(time.monotonic())
                response = transport.call_worker(
                    grant,
                    self.route,
                    payload,
                    left_s,
                    progress.traceparent,
                    streams=self.manner.is_stream,
                )
            except WorkerUnreachableError:
                self.fail()
                continue
            progress.take_answer(time.monotonic())
            if response.status_code < 400:
                return response
            try:
                body = response.content
            except requests.RequestException:  # an error that breaks off is a lost worker
                self.fail()
                continue
            status, headers = response.status_code, response.headers
            self.client._pause(progress.take_error(status, headers, body, time.monotonic()))

    def fail(self) -> None:
        """The worker failed: wait a moment before the next is asked for.

        Raises:
            WaitTimeoutError: the caller's time is over.
        """
        self.client._pause(self.progress.take_worker_failure(time.monotonic()))

    def _granted(self) -> Grant:
        progress, transport = self.progress, self.client._transport
        while True:
            asked_at = time.monotonic()
            try:
                reply = transport.route(
                    self.endpoint,
                    self.cost,
                    progress.request_idx,
                    progress.traceparent,
                    self.manner,
                    progress.left_s(asked_at),
                )
            except RouteRefusedError as error:
                pause_s = progress.take_refusal(error, asked_at, time.monotonic())
            except requests.RequestException as error:
                problem = f"{transport.url} does not answer ({type(error).__name__})"
                pause_s = progress.take_silence(problem, asked_at, time.monotonic())
            else:
                if isinstance(reply, Grant):
                    progress.take_grant(reply, asked_at, time.monotonic())
                    return reply
                pause_s = progress.take_waiting(reply, asked_at, time.monotonic())
            self.client._pause(pause_s)


class ResumedAnswer(Answer):
    """A stream of text that goes on elsewhere when its worker is lost."""

    def __init__(
        self, response: requests.Response, call: _Call, continuation: Continuation
    ) -> None:
        super().__init__(response, call.progress.trace, call.span)
        self._call = call
        self._continuation = continuation

    def chunks(self) -> Iterator[bytes]:
        """The events as they come, whole ones only; a comment where another worker went on.

        Raises:
            StreamBrokenError: it broke off, and could not go on elsewhere.
            CallError: nobody could go on in the caller's time; or two workers' model servers failed
                with the same words.
        """
        heard = ""
        while True:
            broken: StreamBrokenError | None = None
            try:
                for chunk in self._received():
                    yield self._continuation.take(chunk)
                rest = self._continuation.rest()
            except StreamBrokenError as error:
                rest, broken = b"", error  # half an event is none: all was said before it
            it, failure = self._continuation, self._continuation.error
            if it.is_over or (it.is_foreign and not failure and broken is None):
                yield rest
                return
            self._response.close()
            if failure and (it.why_not or failure == heard):
                raise ModelFailedError(failure)  # a third model server would say it again
            if it.why_not:
                said = broken or "the answer ended in the middle"
                raise StreamBrokenError(f"{said}, and it cannot be resumed: {it.why_not}")
            heard = failure
            self._call.fail()
            self._response = self._next_answer()
            self.trace.n_resumed += 1
            yield self._continuation.began_again()

    def _next_answer(self) -> requests.Response:
        """Another worker's; StreamBrokenError: it does not go on with what came."""
        try:
            response = self._call.answer(self._continuation.payload())
        except WorkerRefusedError as error:
            raise StreamBrokenError(f"it broke off, and could not go on: {error}") from error
        why = self._continuation.why_not_there(response.headers)
        if not is_events(response.headers):
            why = f"it answers with {response.headers.get('Content-Type', '')[:80]}, no stream"
        if why:
            response.close()
            raise StreamBrokenError(
                f"the answer broke off, and the next worker does not go on: {why}"
            )
        return response
