"""What AWS refuses is told with its cause and its own fix: `doctor`, direct brakes, `secret`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore import exceptions as sdk

from ballast.cli.remote.aws import CREDENTIALS_FIX, aws_trouble
from chalicelib.ports.errors import StorageUnavailableError
from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py


@contextmanager
def aws_that_answers(status: int, code: str) -> Iterator[str]:
    """An endpoint that refuses everything so, as STS does."""
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "found", "fix"),
    [
        (403, "ExpiredToken", "have expired", "aws sso login"),
        (403, "InvalidClientTokenId", "does not accept these credentials", "AWS_ACCESS_KEY_ID"),
        (400, "SignatureDoesNotMatch", "does not accept these credentials", "AWS_PROFILE"),
        (503, "ServiceUnavailable", "AWS fails (ServiceUnavailable)", "wait"),
        (403, "AccessDenied", "AWS refuses", "an identity that may deploy"),
    ],
)
def test_doctor_and_the_brakes_name_what_aws_says_and_what_to_do(
    ballast: Ballast,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    code: str,
    found: str,
    fix: str,
) -> None:
    console.answers["/api/v0/doctor"] = {"checks": []}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAX")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    with aws_that_answers(status, code) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        told = ballast("doctor", "--stage", "prod", "--json")
        assert told.code == 5
        identity = told.json()[0]
        assert found in identity["detail"]
        assert fix in identity["fix"]


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (sdk.NoCredentialsError(), "no AWS credentials", CREDENTIALS_FIX),
        (sdk.ProfileNotFound(profile="x"), "no AWS credentials", "AWS_PROFILE"),
        (sdk.NoRegionError(), "no AWS region", "AWS_DEFAULT_REGION"),
        (sdk.EndpointConnectionError(endpoint_url="https://sts"), "does not answer", "online"),
        (sdk.ReadTimeoutError(endpoint_url="https://sts"), "does not answer", "right region"),
        (sdk.UnauthorizedSSOTokenError(), "not signed in", "aws sso login"),
    ],
)
def test_what_never_reached_aws_is_told_apart(error: Exception, found: str, fix: str) -> None:
    for one in (error, caused_by(error)):
        said, do = aws_trouble(one)
        assert found in said
        assert fix in do


def caused_by(error: Exception) -> Exception:
    """As our adapters raise it."""
    port_error = StorageUnavailableError("config: not answered")
    port_error.__cause__ = error
    return port_error
