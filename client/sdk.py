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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import requests

from client.errors import RouteRefusedError, StreamBrokenError, WaitTimeoutError, WorkerRefusedError
from client.pacing import is_worth_retrying, pause_after_failure, pause_while_waiting
from client.route_reply import Grant, Waiting
from client.transport import Transport, WorkerUnreachableError

DEFAULT_COST = 100.0


@dataclass(slots=True)
class CallTrace:
    """What a call went through. Durations in seconds from its start."""

    route_s: float = 0.0  # in `/route/` itself, all calls together
    wait_s: float = 0.0  # until the grant that was answered
    first_byte_s: float = 0.0
    n_routes: int = 0
    worker_urls: list[str] = field(default_factory=list)
    status: str = ""  # the last "wait" reply's


class Answer:
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

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Client:
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
    ) -> Answer:
        """The answer, open for reading.

        Raises:
            CallError: see `client.errors`.
        """
        return _Call(self._transport, self._pause, self._rng).run(
            endpoint,
            cost,
            lambda grant, left_s: self._transport.call_worker(grant, route, payload, left_s),
            timeout_s,
        )

    stream = request


class _Call:
    """One request on its way to an answer."""

    def __init__(
        self, transport: Transport, pause: Callable[[float], None], rng: random.Random
    ) -> None:
        self._transport = transport
        self._pause = pause
        self._rng = rng
        self._trace = CallTrace()
        self._started = time.monotonic()
        self._n_polls = 0
        self._n_failures = 0
        self._request_idx = 0

    def run(
        self,
        endpoint: str,
        cost: float,
        post: Callable[[Grant, float], requests.Response],
        timeout_s: float,
    ) -> Answer:
        """Route and post until a worker answers."""
        while True:
            grant = self._granted(endpoint, cost, timeout_s)
            self._trace.wait_s = time.monotonic() - self._started
            self._trace.worker_urls.append(grant.url)
            try:
                response = post(grant, max(timeout_s - self._trace.wait_s, 1.0))
            except WorkerUnreachableError:
                self._fail(timeout_s)
                continue
            self._trace.first_byte_s = time.monotonic() - self._started
            if response.status_code < 400:
                return Answer(response, self._trace)
            body = response.content
            if not is_worth_retrying(response.status_code):
                raise WorkerRefusedError(response.status_code, body)
            self._fail(timeout_s)

    def _granted(self, endpoint: str, cost: float, timeout_s: float) -> Grant:
        while True:
            reply = self._route_once(endpoint, cost, timeout_s)
            if isinstance(reply, Grant):
                return reply
            self._n_polls += 1
            self._trace.status = reply.status
            self._sleep(pause_while_waiting(reply, self._n_polls, self._rng), timeout_s)

    def _route_once(self, endpoint: str, cost: float, timeout_s: float) -> Grant | Waiting:
        asked = time.monotonic()
        self._trace.n_routes += 1
        try:
            reply = self._transport.route(endpoint, cost, self._request_idx)
        except RouteRefusedError as error:
            if not is_worth_retrying(error.http_status):
                raise
            reply = Waiting(request_idx=self._request_idx, status=str(error))
        except requests.RequestException as error:
            status = f"the control plane does not answer ({type(error).__name__})"
            reply = Waiting(request_idx=self._request_idx, status=status)
        self._trace.route_s += time.monotonic() - asked
        self._request_idx = reply.request_idx or self._request_idx
        return reply

    def _fail(self, timeout_s: float) -> None:
        self._n_failures += 1
        self._sleep(pause_after_failure(self._n_failures, self._rng), timeout_s)

    def _sleep(self, pause_s: float, timeout_s: float) -> None:
        if time.monotonic() - self._started + pause_s > timeout_s:
            raise WaitTimeoutError(timeout_s, self._trace.status or "workers fail")
        self._pause(pause_s)
