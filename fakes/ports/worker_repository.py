"""Worker rows in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.core.model.worker import Worker, WorkerState, replaced
from chalicelib.ports.errors import ConflictError, NotFoundError, PortError
from chalicelib.ports.worker_repository import Grant, Refusal, Reservation

COUNTED = frozenset({"reqnum", "granted_load", "retry_load", "n_late", "n_refused"})


class FakeWorkerRepository:
    """Implements `ports.worker_repository.WorkerRepository`.

    `calls` counts calls by method; `failure`, if set, is raised by every method.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], Worker] = {}
        self.calls: Counter[str] = Counter()
        self.failure: PortError | None = None

    def reserve(self, endpoint_id: int, instance_id: int, grant: Grant) -> Reservation | Refusal:
        """One conditional write."""
        self._called("reserve")
        row = self.rows.get((endpoint_id, instance_id))
        if row is None or row.state is not WorkerState.READY or row.granted_load > grant.bound:
            return Refusal(row)
        granted = replaced(
            row,
            reqnum=row.reqnum + 1,
            granted_load=round(row.granted_load + grant.cost, 6),
            retry_load=row.retry_load + (grant.cost if grant.is_retry else 0.0),
            n_late=row.n_late + int(grant.is_late),
            n_refused=row.n_refused + grant.n_refused,
        )
        self.rows[endpoint_id, instance_id] = granted
        return Reservation(granted.reqnum, granted.granted_load)

    def find(self, endpoint_id: int, instance_id: int) -> Worker | None:
        """One row."""
        self._called("find")
        return self.rows.get((endpoint_id, instance_id))

    def list(self, endpoint_id: int) -> Sequence[Worker]:
        """All rows of a group, by instance id."""
        self._called("list")
        return [row for key, row in sorted(self.rows.items()) if key[0] == endpoint_id]

    def list_all(self) -> Sequence[Worker]:
        """All rows."""
        self._called("list_all")
        return [row for _, row in sorted(self.rows.items())]

    def add(self, worker: Worker) -> None:
        """A new row."""
        self._called("add")
        key = (worker.endpoint_id, worker.instance_id)
        if key in self.rows:
            raise ConflictError("the row exists")
        self.rows[key] = worker

    def update(
        self,
        endpoint_id: int,
        instance_id: int,
        changes: Mapping[str, object],
        *,
        if_state: WorkerState | None = None,
        if_report: tuple[str, int, str] | None = None,
    ) -> Worker:
        """Set fields under conditions."""
        self._called("update")
        if forbidden := sorted(COUNTED & set(changes)):
            raise ValueError(f"{forbidden} change by reservations only")
        row = self.rows.get((endpoint_id, instance_id))
        if row is None:
            raise NotFoundError(f"no worker {instance_id}")
        if if_state is not None and row.state is not if_state:
            raise ConflictError("another state")
        if if_report not in (None, (row.boot_id, row.report_seq, row.report_hash)):
            raise ConflictError("another report")
        values: dict[str, Any] = dict(changes)
        updated = replaced(row, **values)
        self.rows[endpoint_id, instance_id] = updated
        return updated

    def remove(self, endpoint_id: int, instance_id: int) -> None:
        """Forget a row."""
        self._called("remove")
        self.rows.pop((endpoint_id, instance_id), None)

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.failure is not None:
            raise self.failure
