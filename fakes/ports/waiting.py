"""Waiting requests in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chalicelib.core.model.load import WAITING_ENDS_S, WaitingRequest
from chalicelib.core.moments import is_ahead
from chalicelib.ports.errors import PortError


class FakeWaitingRepository:
    """Implements `ports.routing_view.WaitingRepository`.

    `calls` counts calls by method; `failure`, if set, is raised by every method.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], WaitingRequest] = {}
        self.calls: Counter[str] = Counter()
        self.failure: PortError | None = None

    def put(self, request: WaitingRequest) -> None:
        """Add, or refresh."""
        self._called("put")
        self.rows[request.endpoint_id, request.request_idx] = request

    def remove(self, endpoint_id: int, request_idx: int) -> None:
        """The request was granted."""
        self._called("remove")
        self.rows.pop((endpoint_id, request_idx), None)

    def list(self, endpoint_id: int, *, polled_since: float) -> Sequence[WaitingRequest]:
        """Those polled since then, oldest first seen first."""
        self._called("list")
        found = [
            row
            for (endpoint, _), row in self.rows.items()
            if endpoint == endpoint_id
            and row.last_polled_at >= polled_since
            and not is_ahead(row.last_polled_at, polled_since + WAITING_ENDS_S)
        ]
        return sorted(found, key=lambda r: (r.first_seen_at, r.request_idx))

    def list_all(self, *, polled_since: float) -> Sequence[WaitingRequest]:
        """The same of all groups."""
        self._called("list_all")
        found = [row for row in self.rows.values() if row.last_polled_at >= polled_since]
        return sorted(found, key=lambda r: (r.first_seen_at, r.request_idx))

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.failure is not None:
            raise self.failure
