"""One JSON object a line on stderr: time, level, event, and the event's own fields."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar

from aiohttp.http_exceptions import HttpProcessingError

from chalicelib.wire.trace import TraceContext

trace_of_task: ContextVar[TraceContext | None] = ContextVar("trace_of_task", default=None)
"""Whose request a task of the server serves."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats constant messages with their `extra` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for one record."""
        fields: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "event": record.getMessage(),
        }
        trace = trace_of_task.get()
        if trace is not None:
            fields["trace_id"] = trace.trace_id
        fields |= {k: v for k, v in vars(record).items() if k not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def set_up_logging(level: str) -> None:
    """Send all logs to stderr as JSON lines."""
    logging.getLogger("aiohttp.server").addFilter(_without_quotes)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _without_quotes(record: logging.LogRecord) -> bool:
    """Bytes that are no HTTP are not quoted: they may hold a prompt or a key."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info, record.reason = None, type(error).__name__
        record.levelno, record.levelname = logging.INFO, "INFO"  # anybody can cause it
    return True
