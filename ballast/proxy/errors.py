"""The proxy's errors, in OpenAI's form."""

from __future__ import annotations

import json

from aiohttp import web

from ballast.client.errors import CallError, RouteRefusedError, WaitTimeoutError, WorkerRefusedError


def call_error(error: CallError) -> web.Response:
    """What a call that came to nothing is answered with."""
    if isinstance(error, WorkerRefusedError):
        return _worker_error(error)
    if isinstance(error, RouteRefusedError):
        status = error.http_status if error.http_status >= 400 else 502
        return error_response(status, str(error), "invalid_request_error")
    status = 503 if isinstance(error, WaitTimeoutError) else 502
    return error_response(status, str(error), "server_error")


def _worker_error(error: WorkerRefusedError) -> web.Response:
    """The model server's own error as it is; the PyWorker's put into OpenAI's form."""
    try:
        body = json.loads(error.body)
    except ValueError:
        body = error.body[:500].decode(errors="replace")
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        return web.json_response(body, status=error.http_status)
    told = body["error"] if isinstance(body, dict) and set(body) == {"error"} else body
    message = told if isinstance(told, str) else json.dumps(told)
    return error_response(error.http_status, message, "invalid_request_error")


def error_response(status: int, message: str, kind: str) -> web.Response:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return web.json_response(body, status=status)
