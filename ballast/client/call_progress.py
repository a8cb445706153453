"""One request on its way to an answer: what to do after each reply. Pure: times are arguments.

Shared by the SDK and the proxy, which differ only in how they wait and send.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ballast.client.errors import (
    ControlPlaneSilentError,
    RouteRefusedError,
    WaitTimeoutError,
    WorkerRefusedError,
)
from ballast.client.pacing import is_worth_retrying, pause_after_failure, pause_while_waiting
from ballast.client.route_reply import Grant, Waiting
from chalicelib.wire.model_answers import MODEL_ANSWER
from chalicelib.wire.trace import next_step, parse_traceparent

MAX_HEARD = 4096
_FULL = (429, 503)
_UNSTEADY = re.compile(rb"[0-9a-fA-F-]{8,}|\d+")
"""Ids and numbers, which differ in words that are the same."""
MAX_SILENCE_S = 30.0
"""A control plane that gives no usable answer for so long is told, not waited for."""


@dataclass(slots=True)
class CallTrace:
    """What a call went through. Durations in seconds from its start."""

    route_s: float = 0.0  # in `/route/` itself, all calls together
    wait_s: float = 0.0  # until the grant that was answered
    first_byte_s: float = 0.0
    n_routes: int = 0
    worker_urls: list[str] = field(default_factory=list)
    status: str = ""  # the last "wait" reply's
    n_resumed: int = 0  # times that a broken stream went on at another worker
    trace_id: str = ""  # under which Ballast and the worker log it


class CallProgress:
    """Counts polls and failures, carries `request_idx` on, and ends the call in time."""

    def __init__(
        self,
        timeout_s: float,
        now: float,
        rng: random.Random,
        traceparent: str = "",
        span: str = "",
    ) -> None:
        """`traceparent`: the caller's; `span`: this call's own step, where somebody records it."""
        digits = f"{rng.getrandbits(128) | 1:032x}"
        step = parse_traceparent(span) or next_step(traceparent, digits)
        self.traceparent = step.header
        self.trace = CallTrace(trace_id=step.trace_id)
        self.request_idx = 0
        self._timeout_s = timeout_s
        self._started = now
        self._rng = rng
        self._n_polls = 0
        self._n_failures = 0
        self._silent_since: float | None = None
        self._model_error: WorkerRefusedError | None = None
        self._heard: set[tuple[int, bytes]] = set()

    def take_grant(self, grant: Grant, asked_at: float, now: float) -> None:
        """A worker was named."""
        self._take_reply(grant, asked_at, now)
        self.trace.wait_s = now - self._started
        self.trace.worker_urls.append(grant.url)

    def take_waiting(self, waiting: Waiting, asked_at: float, now: float) -> float:
        """The pause before asking again.

        Raises:
            WaitTimeoutError: the pause would outlast the caller's time.
        """
        self._take_reply(waiting, asked_at, now)
        self._n_polls += 1
        self.trace.status = waiting.status
        return self._in_time(pause_while_waiting(waiting, self._n_polls, self._rng), now)

    def take_refusal(self, error: RouteRefusedError, asked_at: float, now: float) -> float:
        """The pause before asking again, if the control plane may yet think otherwise.

        Raises:
            RouteRefusedError: it will not.
            WaitTimeoutError: the pause would outlast the caller's time.
        """
        if not is_worth_retrying(error.http_status):
            raise error
        return self.take_silence(str(error), asked_at, now)

    def take_silence(self, problem: str, asked_at: float, now: float) -> float:
        """The pause before asking a control plane again that gave no usable answer.

        Raises:
            ControlPlaneSilentError: it has given none for MAX_SILENCE_S.
            WaitTimeoutError: the pause would outlast the caller's time.
        """
        silent_since = asked_at if self._silent_since is None else self._silent_since
        if now - silent_since >= MAX_SILENCE_S:
            raise ControlPlaneSilentError(now - silent_since, problem)
        waiting = Waiting(request_idx=self.request_idx, status=problem)
        pause_s = self.take_waiting(waiting, asked_at, now)
        self._silent_since = silent_since
        return pause_s

    def take_worker_failure(self, now: float) -> float:
        """The pause before another worker is asked for.

        Raises:
            WaitTimeoutError: the pause would outlast the caller's time.
        """
        self._n_failures += 1
        return self._in_time(pause_after_failure(self._n_failures, self._rng), now)

    def take_error(self, status: int, headers: Mapping[str, str], body: bytes, now: float) -> float:
        """The pause before another worker is asked for, after one answered with an error.

        A model server's words that were heard twice are its answer: a third GPU would repeat them.

        Raises:
            WorkerRefusedError: another worker would not do better, or the caller's time is over.
            WaitTimeoutError: the caller's time is over, and only workers, no model, spoke.
        """
        error = WorkerRefusedError(status, body, headers)
        if not is_worth_retrying(status):
            raise error
        if MODEL_ANSWER in headers or _is_openais_error(body):
            self._model_error = error
            heard = (status, _UNSTEADY.sub(b"", body[:MAX_HEARD]))
            if heard in self._heard:
                raise error
            if status not in _FULL:
                self._heard.add(heard)
        return self.take_worker_failure(now)

    def take_answer(self, now: float) -> None:
        """A worker answers."""
        self.trace.first_byte_s = now - self._started

    def left_s(self, now: float) -> float:
        """The caller's time that is left, at least a second."""
        return max(self._timeout_s - (now - self._started), 1.0)

    def _take_reply(self, reply: Grant | Waiting, asked_at: float, now: float) -> None:
        self.trace.n_routes += 1
        self.trace.route_s += now - asked_at
        self.request_idx = reply.request_idx or self.request_idx
        self._silent_since = None

    def _in_time(self, pause_s: float, now: float) -> float:
        if now - self._started + pause_s > self._timeout_s:
            if self._model_error:
                raise self._model_error
            raise WaitTimeoutError(self._timeout_s, self.trace.status or "its workers fail")
        return pause_s


def _is_openais_error(body: bytes) -> bool:
    """Whether this is an error in OpenAI's form: a PyWorker's own are not."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(error, dict) and isinstance(error.get("error"), dict)
