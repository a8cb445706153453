"""One call, one deadline: a server that drips cannot hold the function, wherever it drips."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from chalicelib.adapters.vast.http import NoAnswerError, VastRequest, send_over_http

DEADLINE_S = 0.5
PATIENCE_S = 5.0  # far below what each of these servers would take


@contextmanager
def dripping(begin: bytes, drip: bytes) -> Iterator[str]:
    """A server that sends `begin` at once and then `drip` ten times a second, for ever."""
    is_over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            try:
                connection.sendall(begin)
                while not is_over.wait(0.1):
                    connection.sendall(drip)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        is_over.set()
        thread.join()
        listener.close()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b"H"),
        (OK, b"x-a: b\r\n"),
        (OK + b"x-endless: ", b"a"),
        (OK + b"content-length: 9999\r\n\r\n", b"{"),
        (OK + b"content-length: 9999\r\nconnection: close\r\n\r\n", b"{"),
        (OK + b"connection: close\r\n\r\n{}", b" "),
        (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n{\r\n"),
        (OK + b"transfer-encoding: chunked\r\n\r\n1;", b"x"),
        (OK + b"content-length: 10\r\n\r\n{}", b""),
    ],
    ids=["status", "headers", "one header", "body", "body, closing", "body to the end", "chunks",
         "a chunk's head", "silence"],
)  # fmt: skip
def test_whatever_drips_the_call_ends_at_its_deadline(begin: bytes, drip: bytes) -> None:
    """No text of it is taken for an answer, however well it reads so far."""
    with dripping(begin, drip) as url:
        began_at = time.monotonic()
        with pytest.raises(NoAnswerError, match=r"no whole answer within 0\.5 s"):
            send_over_http(
                VastRequest(method="GET", url=url, api_key="k"), total_timeout_s=DEADLINE_S
            )
        assert DEADLINE_S <= time.monotonic() - began_at < PATIENCE_S


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
        _wait_until(lambda: set(threading.enumerate()) <= before)


def _wait_until(is_so: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < ends_at
        time.sleep(0.01)
