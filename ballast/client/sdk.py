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
from typing import Self

import requests

from ballast.client.call_progress import CallProgress, CallTrace
from ballast.client.errors import NO_KEY, RouteRefusedError, StreamBrokenError, WorkerRefusedError
from ballast.client.pacing import is_worth_retrying
from ballast.client.route_reply import Grant, Waiting
from ballast.client.transport import Transport, WorkerUnreachableError

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

    def __init__(self, response: requests.Response, trace: CallTrace) -> None:
        self._response = response
        self.trace = trace

    @property
    def worker_url(self) -> str:
        """The worker that answers."""
        return self.trace.worker_urls[-1]

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            StreamBrokenError: it broke off.
        """
        try:
            yield from self._response.iter_content(chunk_size=None)
        except requests.RequestException as error:
            raise StreamBrokenError(f"the answer broke off: {type(error).__name__}") from error

    def content(self) -> bytes:
        """The whole body.

        Raises:
            StreamBrokenError: it broke off.
        """
        return b"".join(self.chunks())

    def json(self) -> object:
        """The whole body as JSON.

        Raises:
            StreamBrokenError: it broke off.
            ValueError: it is not JSON.
        """
        parsed: object = json.loads(self.content())
        return parsed

    def close(self) -> None:
        """Let go; an unfinished answer is cancelled at the worker."""
        self._response.close()


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

    def request(
        self,
        endpoint: str,
        route: str,
        payload: Mapping[str, object],
        *,
        cost: float = DEFAULT_COST,
        timeout_s: float = 600.0,
        traceparent: str = "",
    ) -> Answer:
        """The answer, open for reading. `traceparent`: of a trace to go on with (W3C).

        Raises:
            CallError: see `ballast.client.errors`.
        """
        progress = CallProgress(timeout_s, time.monotonic(), self._rng, traceparent)
        while True:
            grant = self._granted(progress, endpoint, cost)
            try:
                left_s = progress.left_s(time.monotonic())
                response = self._transport.call_worker(
                    grant, route, payload, left_s, progress.traceparent
                )
            except WorkerUnreachableError:
                self._pause(progress.take_worker_failure(time.monotonic()))
                continue
            progress.take_answer(time.monotonic())
            if response.status_code < 400:
                return Answer(response, progress.trace)
            body = response.content
            if not is_worth_retrying(response.status_code):
                raise WorkerRefusedError(response.status_code, body)
            self._pause(progress.take_worker_failure(time.monotonic()))

    stream = request

    def close(self) -> None:
        """Close all connections."""
        self._transport.close()

    def _granted(self, progress: CallProgress, endpoint: str, cost: float) -> Grant:
        while True:
            asked_at = time.monotonic()
            try:
                reply = self._transport.route(
                    endpoint, cost, progress.request_idx, progress.traceparent
                )
            except RouteRefusedError as error:
                pause_s = progress.take_refusal(error, asked_at, time.monotonic())
            except requests.RequestException as error:
                problem = f"{self._transport.url} does not answer ({type(error).__name__})"
                pause_s = progress.take_silence(problem, asked_at, time.monotonic())
            else:
                if isinstance(reply, Grant):
                    progress.take_grant(reply, asked_at, time.monotonic())
                    return reply
                pause_s = progress.take_waiting(reply, asked_at, time.monotonic())
            self._pause(pause_s)
