"""Structured logs and metrics: constant messages with ids, never a body, a key or an address.

Powertools costs 40 ms of a cold start, a fifth of what the hot function may take; that function
logs only failures, through a formatter of the same shape.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING

from chalicelib.wire.trace import TraceContext, next_step

if TYPE_CHECKING:
    from chalice import Chalice

LOGGER = "ballast"
STORM_S = 10.0
_UNITS = {"S": "Seconds", "Usd": "None", "UsdPerHour": "None", "Share": "None"}
"""By the suffix of a metric's name; all others are counts. CloudWatch knows no dollars."""

_trace: ContextVar[TraceContext | None] = ContextVar("trace", default=None)

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: level, message, time, what `extra` gave, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "level": record.levelname,
            "message": record.getMessage(),
            "timestamp": self.formatTime(record),
            "service": LOGGER,
            **{name: value for name, value in vars(record).items() if name not in _PLAIN},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TraceFilter(logging.Filter):
    """Puts the ids of the request that this thread serves into every line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        trace = _trace.get()
        if trace is not None:
            record.trace_id, record.span_id = trace.trace_id, trace.span_id
        return True


class StormFilter(logging.Filter):
    """Lets each kind of warning pass once in `STORM_S`, with how many like it were left out.

    Else each request of a group would write a line while the database is in trouble.
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}
        self._n_left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; errors always are."""
        if record.levelno > logging.WARNING:
            return True
        kind = str(record.msg)
        if record.created - self._passed_at.get(kind, -math.inf) < STORM_S:
            self._n_left_out[kind] += 1
            return False
        self._passed_at[kind] = record.created
        record.n_left_out = self._n_left_out.pop(kind, 0)
        return True


def begin_trace(header: str, request_id: str) -> TraceContext:
    """The step of this invocation, in the trace that a header names or in one of its own."""
    trace = next_step(header, hashlib.sha256(request_id.encode()).hexdigest()[:32])
    _trace.set(trace)
    return trace


def traceparent() -> str:
    """The header of the present step; "" outside of any."""
    trace = _trace.get()
    return trace.header if trace else ""


def attach_telemetry(app: Chalice, role: str) -> None:
    """Give a function its logger, with the ids of the request in every line."""
    logging.getLogger(LOGGER).addFilter(TraceFilter())
    if role == "hot":
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        handler.addFilter(StormFilter())
        logger = logging.getLogger(LOGGER)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
        return
    from aws_lambda_powertools import Logger
    from chalice import ConvertToMiddleware

    powertools = Logger(service=LOGGER)
    app.register_middleware(ConvertToMiddleware(powertools.inject_lambda_context(clear_state=True)))


HEARTBEAT = "RoundDurationS"
"""The metric whose absence is an alarm (RoundsMissing)."""
AVERAGED = frozenset({"LateShare"})
"""Metrics that an alarm averages: their zeros count."""


def emit_metrics(rounds: Sequence[Mapping[str, float]]) -> None:
    """Write the figures of some rounds as one EMF line, a value per round; none for no figures.

    CloudWatch then has the sum, the maximum and the number of rounds in which it was not 0. The
    dimension `service` is POWERTOOLS_SERVICE_NAME, which names the stage: the alarms of
    infra/ops.yaml look for it. A 0 stays unwritten, but for these two: an alarm counts the rounds
    in which something was wrong, and an idle month costs one metric instead of all.
    """
    told = [
        (name, value)
        for figures in rounds
        for name, value in figures.items()
        if math.isfinite(value) and (value or name == HEARTBEAT or name in AVERAGED)
    ]
    if not told:
        return
    from aws_lambda_powertools import Metrics
    from aws_lambda_powertools.metrics import MetricUnit

    metrics = Metrics(namespace="Ballast")
    for name, value in told:
        metrics.add_metric(name=name, unit=MetricUnit(_unit(name)), value=value)
    metrics.flush_metrics()


def _unit(name: str) -> str:
    return next((unit for suffix, unit in _UNITS.items() if name.endswith(suffix)), "Count")
