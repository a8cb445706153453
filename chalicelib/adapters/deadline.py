"""A deadline for a whole HTTP call: the time-outs of HTTP libraries are for each read, not for all.

A server that drips a byte now and then would hold a function for as long as it likes.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Any


class Deadline:
    """Cuts the connections that it watches at one moment, whatever they are doing then.

    Connecting, a TLS handshake, headers and body are covered; a name that resolves slowly is not
    (the system's resolver has its own limit).
    """

    def __init__(self, after_s: float) -> None:
        self.is_past = False
        self._connections: list[Any] = []
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(after_s, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def watch(self, pool: Any) -> None:
        """Know the connections that this pool of urllib3 is going to make, from their beginning."""
        deadline, connection_class = self, type(pool).ConnectionCls

        class Watched(connection_class):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                deadline._connections.append(self)
                super().connect()
                if self.sock is not None:  # http.client forgets it once the answer's end closes it
                    deadline._sockets.append(self.sock)

        pool.ConnectionCls = Watched

    def _cut(self) -> None:
        self.is_past = True
        connecting = [connection.sock for connection in self._connections]
        for held in {*connecting, *self._sockets} - {None}:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would forget its state under a reader.
                socket.socket.shutdown(held, socket.SHUT_RDWR)
