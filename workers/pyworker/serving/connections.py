"""Connections that have not shown a ticket: so many may be open, the oldest are closed first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MAX_UNPROVEN = 1000


class ConnectionGuard:
    """Makes the protocols of a server and forgets those that proved themselves or ended."""

    def __init__(self, most: int = MAX_UNPROVEN) -> None:
        self.make: Callable[[], asyncio.Protocol] = asyncio.Protocol  # the server's, once it is up
        self._most = most
        self._unproven: dict[_Watched, None] = {}
        self._watched: dict[int, _Watched] = {}  # of the unproven, by the server's protocol
        self.n_closed = 0

    @property
    def n_unproven(self) -> int:
        """Open connections without a ticket."""
        return len(self._unproven)

    def end(self) -> None:
        """Close those that have said nothing yet: soon there is nobody to read it."""
        for watched in list(self._unproven):
            if watched.inner is None:
                watched.abort()

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Watched(self)

    def opened(self, watched: _Watched) -> None:
        """One more is open."""
        self._unproven[watched] = None
        while len(self._unproven) > self._most:
            oldest = next(iter(self._unproven))
            self.closed(oldest)
            oldest.abort()
            self.n_closed += 1

    def spoke(self, watched: _Watched, inner: asyncio.Protocol) -> None:
        """Its first bytes came, and the server's protocol reads them."""
        if watched in self._unproven:
            self._watched[id(inner)] = watched

    def trust(self, inner: object) -> None:
        """This one brought a good ticket."""
        if watched := self._watched.pop(id(inner), None):
            self._unproven.pop(watched, None)

    def closed(self, watched: _Watched) -> None:
        """This one ended."""
        self._unproven.pop(watched, None)
        self._watched.pop(id(watched.inner), None)


class _Watched(asyncio.Protocol):
    """Passes everything on to the server's own protocol, which is made at the first bytes.

    Until then a connection costs next to nothing: no parser, no task.
    """

    def __init__(self, guard: ConnectionGuard) -> None:
        self._guard = guard
        self._transport: asyncio.Transport | None = None
        self.inner: asyncio.Protocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self._guard.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        self.inner = inner = self._guard.make()
        # The paths of bytes are the server's own from now on, without a step of ours.
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]
        self._guard.spoke(self, inner)
        inner.connection_made(self._transport)
        inner.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.closed(self)
        if self.inner:
            self.inner.connection_lost(exc)

    def abort(self) -> None:
        """Close it at once."""
        if self._transport:
            self._transport.abort()
