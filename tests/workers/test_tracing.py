"""Spans of a call, exported by the standard variables: one trace from the caller to the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ballast.tracing import wants_export as client_wants
from fakes.local_http import QuietHandler, serving
from workers.pyworker.reporting.tracing import wants_export as worker_wants

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

CALLER = """
import os, sys
from ballast.client.errors import CallError
from ballast.client.sdk import Client
with Client("blk.k", sys.argv[1]) as client:
    try:
        with client.request("g", "/generate", {"inputs": "SECRET"}, cost=7, timeout_s=2,
                            traceparent=os.environ.get("PARENT", "")) as answer:
            print(answer.content().decode())
    except CallError as error:
        print(type(error).__name__)
"""
WORKER = """
import asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from workers.pyworker.model.forwarding import _trace_headers
from workers.pyworker.serving.server import _problems

async def answer(request):
    if request.query:
        raise RuntimeError("SECRET")
    return web.json_response(_trace_headers(request), status=int(request.match_info["status"]))

async def main():
    app = web.Application(middlewares=[_problems])
    app.router.add_post("/generate/{status}", answer)
    async with TestClient(TestServer(app)) as client:
        parent = {"traceparent": "PARENT"}
        async with client.post("/generate/200", headers=parent) as answered:
            print(await answered.text())
        await client.post("/generate/503", headers=parent)
        await client.post("/generate/200?key=SECRET", headers=parent)

asyncio.run(main())
""".replace("PARENT", PARENT)


class _Collector(QuietHandler):
    """Keeps what is posted to `/v1/traces`, and its headers."""

    taken: list[tuple[dict[str, str], bytes]]

    def answer(self) -> None:
        body = self.read()
        if self.path == "/v1/traces":
            self.taken.append((dict(self.headers), body))
        elif self.path.startswith("/route"):
            url = f"http://{self.headers['Host']}"
            grant: dict[str, object] = {"url": url, "signature": "s"}
            grant |= {"cost": 7, "endpoint": "g", "reqnum": 1, "request_idx": 5}
            return self.reply(200, json.dumps(grant).encode())
        else:
            return self.reply(200, self.headers.get("traceparent", "").encode())
        return self.reply(200)


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    taken: list[tuple[dict[str, str], bytes]] = []
    with serving(type("Handler", (_Collector,), {"taken": taken})) as address:
        yield f"http://{address}", taken


def run(code: str, *words: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def spans_in(taken: list[tuple[dict[str, str], bytes]]) -> list[tuple[str, dict[str, str], object]]:
    """(service, attributes, span) of all that was exported."""
    found = []
    for _, body in taken:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    values = {a.key: str(a.value).split(":", 1)[1].strip() for a in span.attributes}
                    found.append((about["service.name"], values, span))
    return found


def test_a_call_is_one_span_of_its_callers_trace_and_the_worker_goes_on_with_it() -> None:
    with collector() as (url, taken):
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue"}
        sent = run(CALLER, url, PARENT=PARENT, OTEL_SERVICE_NAME="shop", **env)
    ((service, values, span),) = spans_in(taken)
    assert taken[0][0]["x-tenant"] == "blue"
    assert service == "shop"
    trace_id, parent_id = PARENT.split("-")[1:3]
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace_id, parent_id)  # type: ignore[attr-defined]
    assert sent.split("-")[1:3] == [trace_id, span.span_id.hex()]  # type: ignore[attr-defined]
    assert values["ballast.endpoint"] == '"g"'
    assert values["http.response.status_code"] == "200"
    assert b"SECRET" not in taken[0][1]


def test_a_worker_exports_its_requests_and_names_itself_to_the_model_server() -> None:
    with collector() as (url, taken):
        sent = run(WORKER, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces", CONTAINER_ID="42")
    found = spans_in(taken)
    assert [values["http.route"] for _, values, _ in found] == ['"/generate/{status}"'] * 3
    statuses = [values.get("http.response.status_code") for _, values, _ in found]
    assert statuses == ["200", "503", None]
    assert found[2][1]["error.type"] == '"RuntimeError"'
    first = found[0][2]
    assert first.parent_span_id.hex() == PARENT.split("-")[2]  # type: ignore[attr-defined]
    assert json.loads(sent)["traceparent"].split("-")[2] == first.span_id.hex()  # type: ignore[attr-defined]
    assert all(b"key=SECRET" not in body for _, body in taken)


@pytest.mark.parametrize(
    "off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}]
)
def test_without_the_variables_or_with_no_in_them_nothing_is_exported(
    off: Mapping[str, str],
) -> None:
    with collector() as (url, taken):
        asks = {"OTEL_EXPORTER_OTLP_ENDPOINT": url} if off else {}
        sent = run(CALLER, url, PARENT=PARENT, **asks, **off)
        assert sent.split("-")[1] == PARENT.split("-")[1]  # the caller's trace goes on all the same
    assert taken == []


@pytest.mark.parametrize(
    ("env", "is_on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_client_and_worker_read_the_variables_alike(env: Mapping[str, str], is_on: bool) -> None:
    assert client_wants(env) is worker_wants(env) is is_on
