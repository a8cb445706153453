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
        self._unproven: dict[int, _Watched] = {}
        self.n_closed = 0

    @property
    def n_unproven(self) -> int:
        """Open connections without a ticket."""
        return len(self._unproven)

    def protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return _Watched(self, self.make())

    def opened(self, watched: _Watched) -> None:
        """One more is open."""
        self._unproven[id(watched.inner)] = watched
        while len(self._unproven) > self._most:
            oldest = self._unproven.pop(next(iter(self._unproven)))
            oldest.abort()
            self.n_closed += 1

    def trust(self, inner: object) -> None:
        """This one brought a good ticket."""
        self._unproven.pop(id(inner), None)

    def closed(self, watched: _Watched) -> None:
        """This one ended."""
        self._unproven.pop(id(watched.inner), None)


class _Watched(asyncio.Protocol):
    """Passes everything on to the server's own protocol."""

    def __init__(self, guard: ConnectionGuard, inner: asyncio.Protocol) -> None:
        self._guard = guard
        self._transport: asyncio.Transport | None = None
        self.inner = inner
        # The paths of bytes are the server's own, without a step of ours.
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
        self.inner.connection_made(transport)
        self._guard.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._guard.closed(self)
        self.inner.connection_lost(exc)

    def abort(self) -> None:
        """Close it at once."""
        if self._transport:
            self._transport.abort()
