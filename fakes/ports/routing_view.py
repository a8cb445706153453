"""Routing views, their lease and the directory in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chalicelib.core.moments import CLOCK_SLIP_S
from chalicelib.ports.errors import PortError
from chalicelib.ports.routing_view import StoredView


class FakeRoutingViewRepository:
    """Implements `ports.routing_view.RoutingViewRepository`.

    `calls` counts calls by method; `failure`, if set, is raised by every method.
    """

    def __init__(self) -> None:
        self.views: dict[tuple[int, int], StoredView] = {}
        self.leases: dict[int, float] = {}
        self.directory: bytes | None = None
        self.calls: Counter[str] = Counter()
        self.failure: PortError | None = None

    def read(self, endpoint_id: int, shard: int) -> StoredView | None:
        """One shard."""
        self._called("read")
        return self.views.get((endpoint_id, shard))

    def write(self, endpoint_id: int, views: Sequence[StoredView]) -> None:
        """Replace the view, unless a newer one is there."""
        self._called("write")
        for view in sorted(views, key=lambda v: -v.shard):
            known = self.views.get((endpoint_id, view.shard))
            age_s = 0.0 if known is None else known.built_at - view.built_at
            if 0.0 < age_s <= CLOCK_SLIP_S:
                return
            self.views[endpoint_id, view.shard] = view

    def try_lease(self, endpoint_id: int, now: float, duration_s: float) -> bool:
        """Whether the caller may rebuild the view now."""
        self._called("try_lease")
        if now < self.leases.get(endpoint_id, 0.0) <= now + duration_s + CLOCK_SLIP_S:
            return False
        self.leases[endpoint_id] = now + duration_s
        return True

    def read_directory(self) -> bytes | None:
        """The packed directory."""
        self._called("read_directory")
        return self.directory

    def write_directory(self, blob: bytes) -> None:
        """Replace the directory."""
        self._called("write_directory")
        self.directory = blob

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.failure is not None:
            raise self.failure
