"""Trace context of W3C (https://www.w3.org/TR/trace-context/), as OpenTelemetry passes it on.

A request keeps its `trace_id` from the caller through Ballast and the worker to the model server.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER = "traceparent"
STATE_HEADER = "tracestate"

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = "01"


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Whose request this is (32 hex digits), and which step of it (16)."""

    trace_id: str
    span_id: str
    flags: str = _SAMPLED

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def parse_traceparent(text: str) -> TraceContext | None:
    """The context of a header; None if it is absent or not one, which is no error."""
    match = _FORM.fullmatch(text[:256].strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    is_void = version == "ff" or set(trace_id) == {"0"} or set(span_id) == {"0"}
    return None if is_void or (version == "00" and more) else TraceContext(trace_id, span_id, flags)


def next_step(text: str, digits: str) -> TraceContext:
    """The step of whoever got this header; the first one of a new trace if it got none.

    `digits`: 32 hex digits of its own.
    """
    parent = parse_traceparent(text)
    if parent is None:
        return TraceContext(digits, digits[16:])
    return TraceContext(parent.trace_id, digits[16:], parent.flags)
