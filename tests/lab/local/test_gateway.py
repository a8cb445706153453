"""The local API Gateway: events of an HTTP API (payload 1.0), answers passed on as it does."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from lab.local.gateway.gateway import MAX_BODY_BYTES, application_over, event_of, function_name
from lab.local.gateway.gateway_faults import GatewayFaults

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def request(
    uri: str = "/route/", *, method: str = "POST", body: bytes = b"", **headers: str
) -> WSGIEnvironment:
    """A WSGI request as gunicorn gives it."""
    return {
        "REQUEST_METHOD": method,
        "RAW_URI": uri,
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(body),
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }


@pytest.mark.parametrize("uri", ["/route/", "/route", "//get_endpoint_workers/", "/a%2Fb/"])
def test_the_path_reaches_the_app_as_it_was_sent(uri: str) -> None:
    """Both slash forms and a doubled leading slash are the app's to understand."""
    assert event_of(request(uri), b"")["path"] == uri


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_bodies_of_get_and_delete_are_kept(method: str) -> None:
    """The vendor's CLI sends JSON bodies with both."""
    body = b'{"client_id": "me"}'
    event = event_of(request("/api/v0/endptjobs/", method=method, body=body), body)
    assert event["body"] == body.decode()
    assert not event["isBase64Encoded"]


def test_bodies_that_are_no_text_travel_as_base64() -> None:
    event = event_of(request(body=b"\xff\x00"), b"\xff\x00")
    assert base64.b64decode(event["body"]) == b"\xff\x00"
    assert event["isBase64Encoded"]


def test_repeated_query_parameters_are_kept_and_the_last_one_wins() -> None:
    event = event_of(request("/x/?a=1&a=2&empty="), b"")
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"], "empty": [""]}
    assert event["queryStringParameters"] == {"a": "2", "empty": ""}


def test_basic_authorisation_reaches_the_app() -> None:
    event = event_of(request("/worker_status/", authorization="Basic dzp0b2tlbg=="), b"{}")
    assert event["headers"]["authorization"] == "Basic dzp0b2tlbg=="


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/route/", "hot"),
        ("/pubkey", "hot"),
        ("/worker_status/", "reports"),
        ("//delete_requests/", "reports"),
        (f"/w-{'x' * 22}/worker_status/", "reports"),
        (f"/w-{'x' * 22}/pubkey/", "hot"),
        ("/api/v0/endptjobs/", "app"),
        ("/", "app"),
    ],
)
def test_each_path_has_its_function(path: str, name: str) -> None:
    assert function_name(path) == name


class Functions:
    """Stands for app.py: answers what it was given."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.events: list[dict[str, Any]] = []

    def hot(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        assert context.get_remaining_time_in_millis() > 0
        self.events.append(event)
        return self.answer


@contextmanager
def served(answer: dict[str, Any], body: bytes = b"") -> Iterator[tuple[Any, ...]]:
    """(status line, headers, body, functions) of a request to the hot function."""
    functions = Functions(answer)
    seen: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]]) -> None:
        seen[:] = [status, headers]

    with TemporaryDirectory() as directory:
        faults = GatewayFaults(Path(directory) / "faults.json")
        application = application_over(functions, faults)
        chunks = application(request(body=body), start_response)  # type: ignore[arg-type]
    yield (*seen, b"".join(chunks), functions)


def test_an_answer_is_passed_on() -> None:
    answer = {"statusCode": 401, "headers": {"X-A": "1"}, "body": json.dumps({"é": 1})}
    with served(answer) as (status, headers, body, _):
        assert status == "401 Unauthorized"
        assert ("X-A", "1") in headers
        assert ("Content-Type", "application/json") in headers
        assert json.loads(body) == {"é": 1}
        assert ("Content-Length", str(len(body))) in headers


def test_a_binary_answer_is_decoded() -> None:
    answer = {"statusCode": 200, "body": "iVBORw==", "isBase64Encoded": True}
    with served(answer) as (_, _, body, _):
        assert body == b"\x89PNG"


def test_a_body_that_lambda_would_not_take_is_refused() -> None:
    with served({"statusCode": 200}, b"x" * (MAX_BODY_BYTES + 1)) as (status, _, _, functions):
        assert status.startswith("413")
        assert not functions.events


def test_an_answer_that_lambda_would_not_give_is_none() -> None:
    with served({"statusCode": 200, "body": '"' * (MAX_BODY_BYTES // 2)}) as (status, *_):
        assert status.startswith("500")
