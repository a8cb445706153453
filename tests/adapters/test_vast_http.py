"""The transport: sends once, follows nothing, names errors without their contents."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from chalicelib.adapters.vast.http import NoAnswerError, VastRequest, send_over_http

SEEN: list[tuple[str, str, str | None, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    """Remembers requests; answers by path."""

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        SEEN.append((self.command, self.path, self.headers.get("Authorization"), body))
        if self.path.startswith("/cut"):
            self.close_connection = True
            return
        self.send_response(302 if self.path.startswith("/away") else 201)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    SEEN.clear()
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_request_carries_key_parameters_and_body(url: str) -> None:
    request = VastRequest(
        method="PUT", url=f"{url}/x/", api_key="k", params={"a": "b c"}, body={"n": 1}
    )
    answer = send_over_http(request)
    assert (answer.status, answer.text) == (201, "ok")
    assert SEEN == [("PUT", "/x/?a=b+c", "Bearer k", b'{"n": 1}')]


def test_no_redirect_takes_the_key_away(url: str) -> None:
    answer = send_over_http(VastRequest(method="PUT", url=f"{url}/away", api_key="k"))
    assert answer.status == 302
    assert len(SEEN) == 1


def test_without_a_key_no_header_is_sent(url: str) -> None:
    send_over_http(VastRequest(method="PUT", url=f"{url}/x", api_key=""))
    assert SEEN[0][2] is None


def test_a_cut_connection_is_no_answer_and_is_not_tried_again(url: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        send_over_http(VastRequest(method="PUT", url=f"{url}/cut", api_key="key-canary"))
    assert len(SEEN) == 1
    assert str(caught.value) == "PUT: ConnectionError"
    assert caught.value.__cause__ is None
