"""A deadline for a whole HTTP call: time-outs of `requests` are for each read, not for all."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Any

import requests
from requests.adapters import HTTPAdapter


class Deadline:
    """A session whose connections are cut at one moment, whatever they are doing then.

    Connecting, a TLS handshake, headers and body are covered; a name that resolves slowly is not
    (the system's resolver has its own limit).
    """

    def __init__(self, after_s: float) -> None:
        self.is_past = False
        self._connections: list[Any] = []
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(after_s, self._cut)
        self._timer.daemon = True
        self._session = requests.Session()

    def __enter__(self) -> requests.Session:
        adapter = _WatchedAdapter(self)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._timer.start()
        return self._session

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self._session.close()

    def watched(self, connection_class: type[Any]) -> type[Any]:
        """The same kind of connection, known here from its first moment on."""
        deadline = self

        class Watched(connection_class):  # type: ignore[misc]
            def connect(self) -> None:
                deadline._connections.append(self)
                super().connect()
                if self.sock is not None:  # http.client forgets it once the answer's end closes it
                    deadline._sockets.append(self.sock)

        return Watched

    def _cut(self) -> None:
        self.is_past = True
        connecting = [connection.sock for connection in self._connections]
        for held in {*connecting, *self._sockets} - {None}:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would forget its state under a reader.
                socket.socket.shutdown(held, socket.SHUT_RDWR)


class _WatchedAdapter(HTTPAdapter):
    def __init__(self, deadline: Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def get_connection_with_tls_context(self, *args: Any, **named: Any) -> Any:
        """The pool for a request; its connections are watched."""
        pool: Any = super().get_connection_with_tls_context(*args, **named)
        pool.ConnectionCls = self._deadline.watched(type(pool).ConnectionCls)
        return pool
