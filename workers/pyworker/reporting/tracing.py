"""A span for each request, exported as OpenTelemetry's standard environment variables say.

Off unless the template sets OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or
OTEL_TRACES_EXPORTER=otlp). The supervisor then installs `launch/tracing.lock` before the first
start. Nothing of a prompt, key or ticket is in a span.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from aiohttp import web

from chalicelib.wire.trace import HEADER

NAME = "ballast.worker"
ASKS_FOR_EXPORT = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def wants_export(env: Mapping[str, str]) -> bool:
    """Whether the standard variables ask for spans to be exported."""
    exporter = env.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true" or exporter == "none":
        return False
    return exporter == "otlp" or any(env.get(name) for name in ASKS_FOR_EXPORT)


class RequestSpan:
    """One request at the worker; nothing where nobody listens."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent  # for the model server
        self.status = 0  # of its answer, once it has one


SPAN = web.RequestKey("span", RequestSpan)


@contextmanager
def request_span(path: str, traceparent: str) -> Iterator[RequestSpan]:
    """A span around a request, below the caller's; `path` is one of our routes, never a query."""
    tracer = _tracer()
    if tracer is None:
        yield RequestSpan(traceparent)
        return
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator, carrier = TraceContextTextMapPropagator(), dict[str, str]()
    raw = tracer.start_span(
        f"POST {path}",
        context=propagator.extract({HEADER: traceparent}),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": "POST", "http.route": path},
    )
    propagator.inject(carrier, context=set_span_in_context(raw))
    span = RequestSpan(carrier.get(HEADER, traceparent))
    try:
        yield span
    except BaseException as error:
        raw.set_attribute("error.type", type(error).__name__)
        raw.set_status(StatusCode.ERROR)
        raise
    finally:
        if span.status:
            raw.set_attribute("http.response.status_code", span.status)
        if span.status >= 500:
            raw.set_status(StatusCode.ERROR)
        raw.end()


@cache
def _tracer() -> Any | None:
    """What makes spans; None where the environment asks for none, or the packages are missing."""
    if not wants_export(os.environ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        return None
    service = os.environ.get("OTEL_SERVICE_NAME") or NAME
    instance = os.environ.get("CONTAINER_ID", "")
    resource = Resource.create({"service.name": service, "service.instance.id": instance})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer(NAME)
