"""One call, one deadline: a server that drips cannot hold the function, wherever it drips."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from botocore.exceptions import ConnectionError, HTTPClientError
from urllib3.exceptions import HTTPError

from chalicelib.adapters.aws import clients
from chalicelib.adapters.notifiers import post_pinned
from chalicelib.adapters.vast.http import NoAnswerError, VastRequest, send_over_http
from chalicelib.core.fleet.safe_url import SafeUrl
from tests.adapters.dripping import DRIPS, DRIPS_BY_NAME, OK, certified, dripping

DEADLINE_S = 0.5
PATIENCE_S = 5.0  # far below what each of these servers would take


@pytest.mark.parametrize(("begin", "drip"), DRIPS, ids=DRIPS_BY_NAME)
def test_whatever_drips_the_call_ends_at_its_deadline(begin: bytes, drip: bytes) -> None:
    """No text of it is taken for an answer, however well it reads so far."""
    with dripping(begin, drip) as url:
        began_at = time.monotonic()
        with pytest.raises(NoAnswerError, match=r"no whole answer within 0\.5 s"):
            send_over_http(
                VastRequest(method="GET", url=url, api_key="k"), total_timeout_s=DEADLINE_S
            )
        assert DEADLINE_S <= time.monotonic() - began_at < PATIENCE_S


def test_who_is_connected_only_after_the_deadline_is_asked_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handshake may outlast it; nobody would end what is asked then, and drips."""
    tls, heard = certified(tmp_path), list[bytes]()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root"))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        accepted, _ = listener.accept()
        time.sleep(2 * DEADLINE_S)
        with tls.wrap_socket(accepted, server_side=True) as connection, suppress(OSError):
            heard.append(connection.recv(65_536))

    thread = threading.Thread(target=serve)
    thread.start()
    request = VastRequest(
        method="PUT", url=f"https://127.0.0.1:{listener.getsockname()[1]}/", api_key="k"
    )
    with pytest.raises(NoAnswerError, match=r"no whole answer within 0\.5 s"):
        send_over_http(request, total_timeout_s=DEADLINE_S)
    thread.join()
    listener.close()
    assert not any(heard)


JSON_OK = OK + b"content-type: application/x-amz-json-1.1\r\n"


@pytest.mark.parametrize(
    ("service", "begin", "drip"),
    [
        ("kms", b"", b"H"),
        ("kms", JSON_OK, b"x-a: b\r\n"),
        ("kms", JSON_OK + b"content-length: 9999\r\n\r\n{", b" "),
        ("dynamodb", JSON_OK + b"content-length: 9999\r\n\r\n{", b" "),
        ("sns", JSON_OK + b"content-length: 9999\r\n\r\n{", b" "),
    ],
    ids=["kms, status", "kms, headers", "kms, body", "dynamodb", "sns"],
)
def test_an_answer_of_aws_that_drips_ends_in_time(
    service: str, begin: bytes, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two tries: the server talks to one caller, and to the second not at all."""
    for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "us-east-1")
    with dripping(begin, drip) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        client = clients.create_client(service)
        began_at = time.monotonic()
        ask = {"kms": "list_keys", "dynamodb": "list_tables", "sns": "list_topics"}[service]
        with pytest.raises((ConnectionError, HTTPClientError)):
            getattr(client, ask)()
        assert time.monotonic() - began_at < 2 * PATIENCE_S


@pytest.mark.parametrize(
    ("begin", "drip"),
    [(b"", b"H"), (OK, b"x-a: b\r\n"), (OK + b"x-endless: ", b"a"), (b"", b"")],
    ids=["status", "headers", "one header", "silence"],
)
def test_a_webhook_that_drips_holds_no_round(begin: bytes, drip: bytes, tmp_path: Path) -> None:
    with dripping(begin, drip, certified(tmp_path)) as url:
        port, began_at = int(url.rpartition(":")[2].strip("/")), time.monotonic()
        with pytest.raises((HTTPError, TimeoutError)):
            post_pinned(
                SafeUrl("127.0.0.1", port, "/x"),
                "127.0.0.1",
                b"{}",
                authorities=str(tmp_path / "root"),
                total_s=DEADLINE_S,
            )
        assert DEADLINE_S <= time.monotonic() - began_at < PATIENCE_S


def test_a_webhook_whose_body_drips_has_said_whether_it_took_the_notice(tmp_path: Path) -> None:
    body = OK + b"content-length: 9999\r\n\r\n"
    with dripping(body, b"{", certified(tmp_path)) as url:
        target = SafeUrl("127.0.0.1", int(url.rpartition(":")[2].strip("/")), "/x")
        root = str(tmp_path / "root")
        assert post_pinned(target, "127.0.0.1", b"{}", authorities=root) == 200


def test_a_slow_answer_that_ends_in_time_is_one() -> None:
    """The deadline cuts nothing that is whole."""
    whole = OK + b"content-length: 2\r\n\r\n{"
    with dripping(whole, b"}") as url:
        answer = send_over_http(VastRequest(method="GET", url=url, api_key="k"))
        assert (answer.status, answer.text) == (200, "{}")


def test_no_thread_is_left_behind() -> None:
    """A deadline that was not needed is taken back."""
    with dripping(OK + b"content-length: 2\r\n\r\n{}", b"") as url:
        before = set(threading.enumerate())
        send_over_http(VastRequest(method="GET", url=url, api_key="k"), total_timeout_s=60.0)
        assert _comes_true(lambda: set(threading.enumerate()) <= before)


def _comes_true(is_so: Callable[[], bool]) -> bool:
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < ends_at:
        time.sleep(0.01)
    return is_so()
