"""Throw-away HTTP servers on 127.0.0.1: a handler says what they answer."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

POLL_S = 0.02  # how long an end may take to be seen


class QuietHandler(BaseHTTPRequestHandler, ABC):
    """Writes no log; reads and answers whole bodies. A subclass says what, in `answer`."""

    @abstractmethod
    def answer(self) -> None:
        """Answer a request of whatever method: `command` and `path` say which."""

    def do_GET(self) -> None:
        """All methods are answered alike."""
        self.answer()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815  names of http.server

    def read(self) -> bytes:
        """The request's body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, content: bytes = b"", **headers: str) -> None:
        """Answer; an underscore in a header's name stands for a dash."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@contextmanager
def serving(
    handler: type[BaseHTTPRequestHandler],
    make: Callable[[tuple[str, int], Any], HTTPServer] = ThreadingHTTPServer,
) -> Iterator[str]:
    """Serve until the block ends; gives the address, host:port."""
    server = make(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
