"""A deadline for a whole HTTP call: the time-outs of HTTP libraries are for each read, not for all.

A server that drips a byte now and then would hold a function for as long as it likes.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from types import TracebackType
from typing import Any


class Deadline:
    """Cuts the connections that it watches at one moment, while they send or wait for an answer.

    Connecting, for each address of a name, and a TLS handshake end by the connection's own
    time-out; what is connected only after the deadline asks nothing. A name that resolves slowly is
    not covered (the system's resolver has its own limit).
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
                if deadline.is_past:
                    raise TimeoutError("connected after the deadline")

        pool.ConnectionCls = Watched

    def _cut(self) -> None:
        self.is_past = True
        connecting = [connection.sock for connection in self._connections]
        for held in {*connecting, *self._sockets} - {None}:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would forget its state under a reader.
                socket.socket.shutdown(held, socket.SHUT_RDWR)


# The same for connections that are kept and calls that are many: no thread, only shorter reads.


def with_bounded_answers(
    pool_class: type[Any], total_s: float | None = None, *, streams: bool = False
) -> type[Any]:
    """The same kind of pool of urllib3; each answer is whole `total_s` after it was waited for.

    Without `total_s` the time-out of one read is the whole answer's. `streams`: the body of an
    answer that is no error is not bounded as a whole, only each read of it. What is late raises
    TimeoutError in its reader, as when nothing comes at all.
    """
    connection_class = pool_class.ConnectionCls
    answer_class = connection_class.response_class

    class BoundedAnswer(answer_class):  # type: ignore[misc, valid-type]
        fp: Any

        def __init__(self, sock: socket.socket, *args: Any, **named: Any) -> None:
            super().__init__(sock, *args, **named)
            self._reads = _BoundedReads(self.fp.detach(), sock, total_s)
            self.fp = io.BufferedReader(self._reads)

        def begin(self) -> None:
            super().begin()
            if streams and self.status < 400:
                self._reads.lift()

    connection = type("BoundedConnection", (connection_class,), {"response_class": BoundedAnswer})
    return type("BoundedPool", (pool_class,), {"ConnectionCls": connection})


class _BoundedReads(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, sock: socket.socket, total_s: float | None) -> None:
        self._raw, self._sock = raw, sock
        self._read_s = sock.gettimeout()
        total_s = self._read_s if total_s is None else total_s
        self._ends_at = None if total_s is None else time.monotonic() + total_s

    def readable(self) -> bool:
        return True

    def lift(self) -> None:
        """From now on each read alone is bounded."""
        self._ends_at = None
        self._sock.settimeout(self._read_s)

    def readinto(self, buffer: Any) -> int | None:
        if self._ends_at is not None:
            left_s = self._ends_at - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("timed out")
            self._sock.settimeout(left_s if self._read_s is None else min(left_s, self._read_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        super().close()
        self._raw.close()
