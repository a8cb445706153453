"""A span for each call, exported as OpenTelemetry's standard environment variables say.

Optional: `pip install 'ballast[otel]'`. An application that has set up OpenTelemetry gets the spans
among its own; else OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or
OTEL_TRACES_EXPORTER=otlp) turns the export on. OTEL_SDK_DISABLED=true and
OTEL_TRACES_EXPORTER=none turn it off. Nothing of a prompt or key is in a span.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any

NAME = "ballast.client"
HEADER = "traceparent"
ASKS_FOR_EXPORT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class CallSpan:
    """One call, from its first `/route/` to the end of its answer; nothing where nobody listens."""

    def __init__(self, endpoint: str, route: str, cost: float, traceparent: str) -> None:
        self._span = _begin(endpoint, route, cost, traceparent)
        self.traceparent = _header_of(self._span)  # empty: nobody records it

    def answered(self, status: int, worker_url: str, n_routes: int) -> None:
        """A worker has begun to answer."""
        if self._span is not None:
            self._span.set_attribute("http.response.status_code", status)
            self._span.set_attribute("server.address", worker_url)
            self._span.set_attribute("ballast.n_routes", n_routes)
            self._span.add_event("first byte")

    def end(self, error: BaseException | None = None) -> None:
        """The answer is whole or let go, or came to nothing; a second end is nothing."""
        span, self._span = self._span, None
        if span is None:
            return
        if error is not None:
            from opentelemetry.trace import StatusCode  # what made the span is there

            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
        span.end()


def wants_export(env: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for spans to be exported."""
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(env.get(name) for name in ASKS_FOR_EXPORT)


@cache
def _tracer() -> Any | None:
    """The application's tracer, or ours if the environment asks for one; None without either."""
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        return None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):  # nobody has set one up
        if not wants_export(os.environ):
            return None
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        service = os.environ.get("OTEL_SERVICE_NAME") or NAME
        provider = TracerProvider(resource=Resource.create({"service.name": service}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)  # flushed at the program's end, as the SDK does
    return trace.get_tracer(NAME)


def _begin(endpoint: str, route: str, cost: float, traceparent: str) -> Any | None:
    tracer = _tracer()
    if tracer is None:
        return None
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    parent = TraceContextTextMapPropagator().extract({HEADER: traceparent}) if traceparent else None
    return tracer.start_span(
        f"POST {route}",
        context=parent,
        kind=SpanKind.CLIENT,
        attributes={
            "http.request.method": "POST",
            "url.path": route,
            "ballast.endpoint": endpoint,
            "ballast.cost": cost,
        },
    )


def _header_of(span: Any | None) -> str:
    if span is None:
        return ""
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context=set_span_in_context(span))
    return carrier.get(HEADER, "")
