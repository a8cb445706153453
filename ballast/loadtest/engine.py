"""Runs a load test: each request on a thread of its own, started when due, come what may."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ballast.client.errors import CallError, ModelFailedError, StoppedError
from ballast.client.sdk import Client
from ballast.loadtest.arrivals import Arrival
from ballast.loadtest.results import Outcome, State


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What each request is: `make_payload(tokens)` gives payload and cost (None = default)."""

    route: str
    make_payload: Callable[[float | None], tuple[dict[str, object], float]]


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where requests go."""

    url: str
    api_key: str
    endpoint: str
    worker_ca: str | None = None
    timeout_s: float = 600.0


@dataclass
class LoadRun:
    """A run in progress; `outcomes` may be read at any time."""

    target: Target
    workload: Workload
    max_in_flight: int = 2000
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        target = self.target
        self._client = Client(
            target.api_key, target.url, worker_ca=target.worker_ca, pause=self._pause
        )
        self._started = time.monotonic()
        self._threads: list[threading.Thread] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._started

    def run(self, arrivals: Iterable[Arrival]) -> None:
        """Send everything and wait for the answers; returns early after `stop`."""
        self._started = time.monotonic()
        for arrival in arrivals:
            if self._stop.wait(max(arrival.at_s - self.elapsed_s, 0.0)):
                break
            self._launch(arrival)
        while any(thread.is_alive() for thread in self._threads) and not self._stop.is_set():
            self._stop.wait(0.05)

    def stop(self, grace_s: float = 2.0) -> None:
        """Send nothing more, end what waits or streams, and count the rest as stopped."""
        self._stop.set()
        deadline = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        for outcome in self.outcomes:
            if outcome.state in (State.WAITING, State.RUNNING):
                outcome.state = State.STOPPED
        self._client.close()

    def _launch(self, arrival: Arrival) -> None:
        outcome = Outcome(started_at_s=self.elapsed_s)
        self.outcomes.append(outcome)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= self.max_in_flight:
            outcome.state, outcome.error = State.FAILED, "TooManyInFlight"
            return
        # Daemons: an answer that never comes must not keep the program from ending.
        thread = threading.Thread(target=self._send, args=(arrival, outcome), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _send(self, arrival: Arrival, outcome: Outcome) -> None:
        began = time.monotonic()
        try:
            self._exchange(arrival, outcome, began)
            outcome.state = State.DONE
        except StoppedError:
            outcome.state = State.STOPPED
        except CallError as error:
            outcome.state, outcome.error = State.FAILED, _error_class(error)
        outcome.total_s = time.monotonic() - began

    def _exchange(self, arrival: Arrival, outcome: Outcome, began: float) -> None:
        payload, cost = self.workload.make_payload(arrival.tokens)
        with self._client.request(
            self.target.endpoint,
            self.workload.route,
            payload,
            cost=cost,
            timeout_s=self.target.timeout_s,
        ) as answer:
            outcome.state, outcome.worker_url = State.RUNNING, answer.worker_url
            outcome.route_s, outcome.wait_s = answer.trace.route_s, answer.trace.wait_s
            outcome.n_routes = answer.trace.n_routes
            outcome.n_workers_tried = len(answer.trace.worker_urls)
            for chunk in answer.chunks():
                outcome.first_token_s = outcome.first_token_s or time.monotonic() - began
                outcome.n_bytes += len(chunk)
                self._pause(0.0)
        if not outcome.n_bytes:
            raise ModelFailedError("an empty answer")

    def _pause(self, pause_s: float) -> None:
        if self._stop.wait(pause_s):
            raise StoppedError("the load test was stopped")


def _error_class(error: CallError) -> str:
    status = getattr(error, "http_status", None)
    return type(error).__name__ + (f" {status}" if status else "")
