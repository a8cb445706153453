"""The ledger of a test that cuts streams, grant by grant, and what the rows must say by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from chalicelib.core.model.worker import Worker

TOLD = {
    "served": "Success",
    "cancelled": "Cancelled",
    "errored": "Error",
    "rejected": "Rejected",
    "refused": "Refused",
}
"""How a request ended, and the word of `/delete_requests/` for it; "expired" is never told."""

TAKEN = ("served", "cancelled", "errored", "rejected", "refused")
"""Ends after the worker had taken the request; here a full model server rejects."""
Book = dict[str, object]


@dataclass
class Line:
    """One grant in the test's own ledger; `how` it ended: a key of TOLD or "expired"."""

    instance_id: int
    boot_id: str
    reqnum: int
    request_idx: int
    cost: float
    how: str = "open"
    is_repeat: bool = False


@dataclass
class Ledger:
    """What really happened, request by request."""

    lines: list[Line] = field(default_factory=list)
    n_turned_away: Counter[str] = field(default_factory=Counter)  # by boot, with no valid ticket

    def books(self, boots: Mapping[int, str]) -> dict[int, Book]:
        """What the rows must say of workers that run under these boots."""
        return {i: self._book(i, boot_id) for i, boot_id in boots.items()}

    def _book(self, instance_id: int, boot_id: str) -> Book:
        granted = [line for line in self.lines if line.instance_id == instance_id]
        here = [line for line in granted if line.boot_id == boot_id]
        n = Counter(line.how for line in here)
        brought = load(line for line in here if line.how in TAKEN)
        n_rejected = n["rejected"] + self.n_turned_away[boot_id]
        return {
            "reqnums": sorted(line.reqnum for line in granted),
            "granted": load(granted),
            "repeated": load(line for line in granted if line.is_repeat),
            "received": brought,
            "finished": brought,
            "rejected": 0.0,
            "n": (n["served"], n["cancelled"], n["errored"], n_rejected),
            "n_received": sum(n[how] for how in TAKEN) + self.n_turned_away[boot_id],
            "working": (0, 0.0),
        }


def load(lines: Iterable[Line]) -> float:
    """The cost of some lines together, as exact as rows are."""
    return round(sum(line.cost for line in lines), 6)


def book(row: Worker) -> Book:
    """What a row says, in the ledger's form."""
    return {
        "reqnums": list(range(1, row.reqnum + 1)),
        "granted": round(row.granted_load, 6),
        "repeated": round(row.retry_load, 6),
        "received": round(row.received_load, 6),
        "finished": round(row.finished_load, 6),
        "rejected": round(row.rejected_load, 6),
        "n": (row.n_served, row.n_cancelled, row.n_errored, row.n_rejected),
        "n_received": row.n_received,
        "working": (row.n_working, row.working_load),
    }
