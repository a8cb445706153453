"""Replays a trace through `/route/` and the workers over HTTP, and counts what happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ballast.client.errors import CallError
from ballast.client.sdk import Client
from lab.local.demo.demo_trace import TraceRequest

MAX_IN_FLIGHT = 300
REQUEST_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Tally:
    """What happened so far; one lock guards it."""

    n_sent: int = 0
    n_answered: int = 0
    n_waiting: int = 0  # sent, and no first token yet
    arrived_load: float = 0.0  # tokens asked for
    waits_s: list[float] = field(default_factory=list)  # until the first token
    failures: list[str] = field(default_factory=list)


class Replay:
    """Sends each request at its time, on as many threads as are in flight."""

    def __init__(self, client: Client, endpoint: str, requests: Sequence[TraceRequest]) -> None:
        self._client = client
        self._endpoint = endpoint
        self.requests = requests
        self._tally = Tally()
        self._lock = threading.Lock()
        self._sender = threading.Thread(target=self._send_all, daemon=True)

    @property
    def n_requests(self) -> int:
        """How many there are in all."""
        return len(self.requests)

    @property
    def is_running(self) -> bool:
        """Whether any request is still to come or to be answered."""
        return self._sender.is_alive()

    def start(self) -> None:
        """Begin."""
        self._sender.start()

    def tally(self) -> Tally:
        """A copy of the counts."""
        with self._lock:
            counts = self._tally
            return Tally(
                n_sent=counts.n_sent,
                n_answered=counts.n_answered,
                n_waiting=counts.n_waiting,
                arrived_load=counts.arrived_load,
                waits_s=list(counts.waits_s),
                failures=list(counts.failures),
            )

    def _send_all(self) -> None:
        started_at = time.monotonic()
        with ThreadPoolExecutor(MAX_IN_FLIGHT) as pool:
            for request in self.requests:
                time.sleep(max(0.0, started_at + request.at_s - time.monotonic()))
                with self._lock:
                    self._tally.n_sent += 1
                    self._tally.n_waiting += 1
                    self._tally.arrived_load += request.load
                pool.submit(self._serve, request)

    def _serve(self, request: TraceRequest) -> None:
        payload = {"inputs": "def f(", "parameters": {"max_new_tokens": request.load}}
        wait_s: float | None = None
        failure = ""
        try:
            with self._client.stream(
                self._endpoint,
                "/generate_stream",
                payload,
                cost=request.load,
                timeout_s=REQUEST_TIMEOUT_S,
            ) as answer:
                wait_s = answer.trace.first_byte_s
                self._note_start(wait_s)
                answer.content()
        except CallError as error:
            failure = f"{type(error).__name__}: {error}"
        self._note_end(failure, has_started=wait_s is not None)

    def _note_start(self, wait_s: float) -> None:
        with self._lock:
            self._tally.n_waiting -= 1
            self._tally.waits_s.append(wait_s)

    def _note_end(self, failure: str, *, has_started: bool) -> None:
        with self._lock:
            if not has_started:
                self._tally.n_waiting -= 1
            if failure:
                self._tally.failures.append(failure)
            else:
                self._tally.n_answered += 1
