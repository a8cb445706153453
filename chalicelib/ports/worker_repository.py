"""Worker rows: one per instance, shared by routing, reports and the scaler.

Every write is partial: a whole-row save would rewind `reqnum` and `granted_load`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.core.model.worker import Worker, WorkerState


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What a reservation adds to a worker's row, and up to which `granted_load` it stands."""

    cost: float
    bound: float = float("inf")
    is_retry: bool = False  # the request was granted before: no new demand
    is_late: bool = False  # waits for a worker, or at it, longer than target_queue_time
    n_refused: int = 0  # reservations of this request that were refused before, at any worker


@dataclass(frozen=True, slots=True)
class Reservation:
    """A grant that was reserved."""

    reqnum: int
    granted_load: float  # cumulative, this grant included


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reservation that was refused, with the row as it is (None: the row is gone)."""

    worker: Worker | None


class WorkerRepository(Protocol):
    """Rows keyed by (endpoint_id, instance_id).

    Every method may raise StorageUnavailableError.
    """

    def reserve(
        self,
        endpoint_id: int,
        instance_id: int,
        grant: Grant,
    ) -> Reservation | Refusal:
        """One conditional write: reqnum + 1, granted_load + cost, and the counts of the grant.

        Refused unless the row is ready and its granted_load <= the grant's bound.
        """
        ...

    def find(self, endpoint_id: int, instance_id: int) -> Worker | None:
        """One row, strongly consistent."""
        ...

    def list(self, endpoint_id: int) -> Sequence[Worker]:
        """All rows of a group, strongly consistent, by instance id."""
        ...

    def list_all(self) -> Sequence[Worker]:
        """All rows of all groups, strongly consistent, by group and instance id."""
        ...

    def add(self, worker: Worker) -> None:
        """A new row.

        Raises:
            ConflictError: the row exists.
        """
        ...

    def update(
        self,
        endpoint_id: int,
        instance_id: int,
        changes: Mapping[str, object],
        *,
        if_state: WorkerState | None = None,
        if_report: tuple[str, int, str] | None = None,
    ) -> Worker:
        """Set these fields of `Worker` (never reqnum or granted_load) and give the new row.

        `if_state`: only if the row is in this state. `if_report`: only if its last report is still
        this (boot_id, report_seq, report_hash).

        Raises:
            NotFoundError: the row is gone.
            ConflictError: a condition failed.
        """
        ...

    def remove(self, endpoint_id: int, instance_id: int) -> None:
        """Forget a row whose instance is confirmed absent; nothing if it is gone already."""
        ...
