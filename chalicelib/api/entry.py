"""The Lambda entry: any API Gateway event (payload format 1.0) → one of Chalice's resources.

Chalice registers no route that ends in `/`, answers 405 to an event that carries one, 415 to a body
that does not call itself JSON, and cannot read the resource `$default` of an HTTP API. So the path
is matched here, and peers may write it with a trailing and a doubled leading slash (protocol.md E).
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any
from urllib.parse import unquote

from chalice import Chalice
from chalice.app import Request

from chalicelib.api.size import fitted
from chalicelib.api.telemetry import begin_trace
from chalicelib.wire.json_body import error_body
from chalicelib.wire.trace import HEADER

Event = dict[str, Any]

_LANE = re.compile("^/w-[A-Za-z0-9_-]{22}/")  # chalicelib/services/market/lanes.py


class BallastApp(Chalice):
    """A Chalice app that takes every spelling of a path, from several threads at once."""

    def __init__(self, app_name: str) -> None:
        self._per_thread = threading.local()
        super().__init__(app_name, configure_logs=False)
        # All that is binary here; Chalice compares each answer with every entry of this list.
        self.api.binary_types[:] = ["application/gzip"]

    # Chalice keeps the request on the app, which only one request at a time can stand; Lambda
    # never has two, a gateway with threads does.
    @property
    def current_request(self) -> Request | None:
        """The request that this thread serves."""
        return getattr(self._per_thread, "request", None)

    @current_request.setter
    def current_request(self, request: Request | None) -> None:
        self._per_thread.request = request

    @property
    def lambda_context(self) -> Any:
        """The Lambda context that this thread serves under."""
        return getattr(self._per_thread, "context", None)

    @lambda_context.setter
    def lambda_context(self, context: Any) -> None:
        self._per_thread.context = context

    def __call__(self, event: Event, context: Any) -> Event:
        """Serve one HTTP event; the answer says under which trace, as the log does."""
        trace = begin_trace(_header(event, HEADER), str(getattr(context, "aws_request_id", "")))
        answer = fitted(self._answer(event, context), event)
        answer.setdefault("headers", {})[HEADER] = trace.header
        return answer

    def _answer(self, event: Event, context: Any) -> Event:
        method = str(event.get("requestContext", {}).get("httpMethod") or event.get("httpMethod"))
        path = without_lane(event_path(event))
        matched = match_resource(path, self.routes) or match_resource(
            without_stage(path, event), self.routes
        )
        if matched is None:
            return _refusal(404, "not_found", f"no such path: {path[:200]}")
        resource, values = matched
        if method not in self.routes[resource]:
            allowed = ", ".join(sorted(self.routes[resource]))
            return _refusal(405, "method_not_allowed", f"{method} {path[:200]}: use {allowed}")
        answer: Event = super().__call__(_normalised(event, method, resource, values), context)
        return answer


def event_path(event: Event) -> str:
    """The path without doubled slashes and trailing slash."""
    context = event.get("requestContext", {})
    path = str(event.get("path") or context.get("path") or "/")  # `chalice local` sends the second
    return "/" + "/".join(part for part in path.split("/") if part)


def without_stage(path: str, event: Event) -> str:
    """The path behind the stage's name, which an HTTP API sends and a REST API does not.

    Our paths may begin like a stage (`/api/v0/…` in the stage `api`): look for the whole one first.
    """
    return path.removeprefix(f"/{event.get('requestContext', {}).get('stage')}") or "/"


def without_lane(path: str) -> str:
    """The path behind a worker's lane, which only says by which throttle the edge let it in."""
    return _LANE.sub("/", path)


def match_resource(path: str, routes: Any) -> tuple[str, dict[str, str]] | None:
    """The resource of a path and its parameters; a literal segment wins over a parameter."""
    if path in routes:
        return path, {}
    parts = path.split("/")
    for resource in sorted(routes):
        names = resource.split("/")
        if len(names) != len(parts):
            continue
        if all(n == p or n.startswith("{") for n, p in zip(names, parts, strict=True)):
            pairs = zip(names, parts, strict=True)
            return resource, {n[1:-1]: unquote(p) for n, p in pairs if n.startswith("{")}
    return None


def _normalised(event: Event, method: str, resource: str, values: dict[str, str]) -> Event:
    """The event as Chalice wants it.

    Handlers read the raw body, so every body may claim to be JSON; and a client that names no type
    it accepts may well get binary data.
    """
    given = event.get("headers") or {}
    headers = {k: v for k, v in given.items() if k.lower() not in ("content-type", "accept")}
    headers |= {"content-type": "application/json", "accept": "*/*"}
    query = event.get("multiValueQueryStringParameters")
    if query is None and event.get("queryStringParameters"):
        query = {name: [value] for name, value in event["queryStringParameters"].items()}
    return {
        **event,
        "headers": headers,
        "multiValueQueryStringParameters": query,
        "pathParameters": values,
        "stageVariables": event.get("stageVariables"),
        "body": event.get("body"),
        "requestContext": {
            **event.get("requestContext", {}),
            "path": event.get("path"),
            "resourcePath": resource,
            "httpMethod": method,
        },
    }


def _header(event: Event, name: str) -> str:
    given = event.get("headers") or {}
    return next((str(value) for key, value in given.items() if key.lower() == name), "")


def _refusal(status: int, code: str, message: str) -> Event:
    headers = {"Content-Type": "application/json"}
    return {
        "statusCode": status,
        "headers": headers,
        "multiValueHeaders": {},
        "body": json.dumps(error_body(code, message)),
    }
