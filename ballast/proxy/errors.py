"""The proxy's errors, in OpenAI's form; a worker's on TGI's own routes as its clients read them."""

from __future__ import annotations

import json

from aiohttp import web

from ballast.client.errors import CallError, RouteRefusedError, WaitTimeoutError, WorkerRefusedError
from chalicelib.wire.model_answers import error_of, passed_headers

TGI_ROUTES = ("/generate", "/generate_stream")
"""Their clients read `{"error": "…", "error_type": "…"}` (tests/evidence/models)."""
_REWRITTEN = frozenset({"content-type", "content-length", "content-encoding"})


def call_error(error: CallError, route: str) -> web.Response:
    """What a call to this route that came to nothing is answered with."""
    if isinstance(error, WorkerRefusedError):
        answer = _worker_error(error, is_tgi=route in TGI_ROUTES)
        for name, value in passed_headers(error.headers):
            if name.lower() not in _REWRITTEN:
                answer.headers.add(name, value)
        return answer
    if isinstance(error, RouteRefusedError):
        status = error.http_status if error.http_status >= 400 else 502
        return error_response(status, str(error), "invalid_request_error")
    status = 503 if isinstance(error, WaitTimeoutError) else 502
    return error_response(status, str(error), "server_error")


def _worker_error(error: WorkerRefusedError, *, is_tgi: bool) -> web.Response:
    """The model server's own error as it is; the PyWorker's put into OpenAI's form."""
    try:
        body = json.loads(error.body)
    except (ValueError, RecursionError):
        body = error.body[:500].decode(errors="replace")
    told = body.get("error") if isinstance(body, dict) else None
    if isinstance(told, dict) or (is_tgi and isinstance(told, str)):
        return web.Response(
            body=error.body, status=error.http_status, content_type="application/json"
        )
    message = error_of(body) or (body if isinstance(body, str) else json.dumps(body))
    kind = "server_error" if error.http_status >= 500 else "invalid_request_error"
    return error_response(error.http_status, message, kind)


def error_response(status: int, message: str, kind: str) -> web.Response:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": None}}
    return web.json_response(body, status=status)
