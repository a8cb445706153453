"""The local API Gateway: turns HTTP requests into events for the Lambda functions of app.py.

Stands in for `infra/edge.yaml`: an HTTP API with payload format 1.0 at the root path that sends
each route to its own function. gunicorn serves `create_application()` from several processes.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from chalicelib.api.entry import without_lane
from lab.local.gateway.gateway_faults import FAULTS_PATH, GatewayFaults
from lab.local.gateway.lambda_context import LambdaContext

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Event = dict[str, Any]
Handler = Callable[[Event, Any], Mapping[str, Any]]

MAX_BODY_BYTES = 6 * 1024 * 1024  # what Lambda takes, and gives (its guide, quotas)
FUNCTION_TIMEOUT_S = 29.0  # after which API Gateway gives up
FUNCTION_BY_PATH = {
    "route": "hot",
    "pubkey": "hot",
    "worker_status": "reports",
    "delete_requests": "reports",
}
API_HANDLER = "app"
FAULTS_FILE_VARIABLE = "DEVSTACK_GATEWAY_FAULTS"


def create_application() -> WSGIApplication:
    """A WSGI application over the functions of app.py, read from this process's environment."""
    faults = GatewayFaults(Path(os.environ[FAULTS_FILE_VARIABLE]))
    return application_over(importlib.import_module("app"), faults)


def application_over(functions: object, faults: GatewayFaults) -> WSGIApplication:
    """A WSGI application over an object that has the functions as attributes."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
        return _respond(_answer_of(functions, faults, environ, body), start_response)

    return application


def _answer_of(
    functions: object, faults: GatewayFaults, environ: WSGIEnvironment, body: bytes
) -> Mapping[str, Any]:
    if len(body) > MAX_BODY_BYTES:
        return {"statusCode": 413, "body": '{"message":"Too large"}'}
    event = event_of(environ, body)
    if event["path"].strip("/") == FAULTS_PATH:
        return faults.control(event["httpMethod"], body)
    name = function_name(event["path"])
    if faults.strikes(name):
        return {"statusCode": 503, "body": '{"message":"Service Unavailable"}'}
    handler: Handler = getattr(functions, name)
    answer = handler(event, LambdaContext(name, FUNCTION_TIMEOUT_S))
    if len(json.dumps(answer)) > MAX_BODY_BYTES:
        return {"statusCode": 500, "body": '{"message":"Internal Server Error"}'}
    return answer


def function_name(path: str) -> str:
    """Which function of app.py serves a path, as `infra/edge.yaml` says."""
    return FUNCTION_BY_PATH.get(without_lane(path).strip("/"), API_HANDLER)


def event_of(environ: WSGIEnvironment, body: bytes) -> Event:
    """The API Gateway event (payload format 1.0) of a request; its path stays as it was sent."""
    raw_path, _, raw_query = str(environ["RAW_URI"]).partition("?")
    headers = _headers(environ)
    text, is_base64 = _body_text(body)
    query = parse_qs(raw_query, keep_blank_values=True)
    method = environ["REQUEST_METHOD"]
    return {
        "version": "1.0",
        "resource": "$default",
        "path": raw_path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": None,
        "stageVariables": None,
        "body": text,
        "isBase64Encoded": is_base64,
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "stage": "$default",
            "path": raw_path,
            "resourcePath": "$default",
            "httpMethod": method,
            "identity": {"sourceIp": environ.get("REMOTE_ADDR", "127.0.0.1")},
        },
    }


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    headers = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    if environ.get("CONTENT_TYPE"):
        headers["content-type"] = environ["CONTENT_TYPE"]
    return headers


def _body_text(body: bytes) -> tuple[str | None, bool]:
    if not body:
        return None, False
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True


def _respond(answer: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    status = int(answer["statusCode"])
    text = str(answer.get("body") or "")
    body = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    headers = [(name, str(value)) for name, value in (answer.get("headers") or {}).items()]
    for name, values in (answer.get("multiValueHeaders") or {}).items():
        headers += [(name, str(value)) for value in values]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    headers.append(("Content-Length", str(len(body))))
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]
