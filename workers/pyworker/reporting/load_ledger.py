"""The books of one PyWorker: what came in, what is in flight, what left and how. Pure.

Two units, never mixed: `cost` is what the ticket promised (the control plane's granted load),
`workload` what the back end's own cost rule counts (the unit of perf). Every counter only grows, so
a lost report loses nothing: in flight = received - finished.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from enum import StrEnum

MAX_UNDELIVERED = 50_000
"""Finished requests kept while the control plane is away; beyond it only the counters know."""


class Outcome(StrEnum):
    """How a request ended; the values are the wire's."""

    SERVED = "Success"
    ERRORED = "Error"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"


@dataclass(slots=True)
class Counters:
    """Cumulative since the process started. `finished` = served + errored + cancelled."""

    received_load: float = 0.0
    finished_load: float = 0.0
    rejected_load: float = 0.0
    received_workload: float = 0.0
    finished_workload: float = 0.0
    served_workload: float = 0.0
    cancelled_workload: float = 0.0
    rejected_workload: float = 0.0
    n_received: int = 0
    n_served: int = 0
    n_errored: int = 0
    n_cancelled: int = 0
    n_rejected: int = 0
    max_reqnum: int = 0
    busy_s: float = 0.0

    def copy(self) -> Counters:
        """A snapshot that later changes do not touch."""
        return Counters(**asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestFacts:
    """What is known about a request before it is served."""

    request_idx: int
    reqnum: int
    cost: float
    workload: float
    is_session: bool = False


@dataclass(eq=False, slots=True)
class Entry:
    """A request in flight; `work_started_at` is 0 while it queues."""

    facts: RequestFacts
    entered_at: float
    work_started_at: float = 0.0


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """A request to tell the control plane about. Epoch seconds, 0 = not reached."""

    facts: RequestFacts
    outcome: Outcome
    entered_at: float
    work_started_at: float
    completed_at: float


class LoadLedger:
    """Counts requests; a request inside a session is counted by its session alone."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._in_flight: set[Entry] = set()
        self._undelivered: deque[FinishedRequest] = deque(maxlen=MAX_UNDELIVERED)
        self._counted_until = 0.0

    # ------------------------------------------------------------------------------- what happens

    def enter(self, facts: RequestFacts, now: float) -> Entry:
        """An accepted request; it may still have to queue."""
        self._count_busy_time(now)
        entry = Entry(facts, now)
        self._in_flight.add(entry)
        counters = self.counters
        counters.n_received += 1
        counters.received_load += facts.cost
        counters.received_workload += facts.workload
        counters.max_reqnum = max(counters.max_reqnum, facts.reqnum)
        return entry

    def leave(self, entry: Entry, outcome: Outcome, now: float) -> None:
        """A request ended; it is out of the books before this returns."""
        self._count_busy_time(now)
        self._in_flight.remove(entry)
        counters = self.counters
        counters.finished_load += entry.facts.cost
        counters.finished_workload += entry.facts.workload
        if outcome is Outcome.SERVED:
            counters.n_served += 1
            counters.served_workload += entry.facts.workload
        elif outcome is Outcome.CANCELLED:
            counters.n_cancelled += 1
            counters.cancelled_workload += entry.facts.workload
        else:
            counters.n_errored += 1
        completed_at = 0.0 if outcome is Outcome.CANCELLED else now
        self._undelivered.append(
            FinishedRequest(
                entry.facts, outcome, entry.entered_at, entry.work_started_at, completed_at
            )
        )

    def reject(self, facts: RequestFacts, now: float) -> None:
        """An authentic request that was turned away (queue too long, too many sessions)."""
        self.counters.n_rejected += 1
        self.counters.rejected_load += facts.cost
        self.counters.rejected_workload += facts.workload
        self.counters.max_reqnum = max(self.counters.max_reqnum, facts.reqnum)
        self._undelivered.append(FinishedRequest(facts, Outcome.REJECTED, now, 0.0, 0.0))

    def _count_busy_time(self, now: float) -> None:
        if self._in_flight:
            self.counters.busy_s += max(now - self._counted_until, 0.0)
        self._counted_until = now

    def reject_unauthentic(self) -> None:
        """A request without a valid ticket: counted, never as load (anyone can send one)."""
        self.counters.n_rejected += 1

    # ------------------------------------------------------------------------------ what is known

    @property
    def working_workload(self) -> float:
        """Workload in flight, sessions included."""
        return sum(entry.facts.workload for entry in self._in_flight)

    @property
    def queued_workload(self) -> float:
        """Workload a newcomer waits behind: in flight without sessions."""
        return sum(e.facts.workload for e in self._in_flight if not e.facts.is_session)

    @property
    def working_request_idxs(self) -> list[int]:
        """`request_idx` of what is in flight, ascending."""
        return sorted(entry.facts.request_idx for entry in self._in_flight)

    @property
    def n_working(self) -> int:
        """Requests and sessions in flight."""
        return len(self._in_flight)

    # ----------------------------------------------------------------------------------- delivery

    def undelivered(self, limit: int) -> list[FinishedRequest]:
        """The oldest finished requests the control plane has not acknowledged."""
        return [self._undelivered[i] for i in range(min(limit, len(self._undelivered)))]

    def acknowledge(self, batch: list[FinishedRequest]) -> None:
        """The control plane has these; whatever finished meanwhile stays."""
        for finished in batch:
            if self._undelivered and self._undelivered[0] is finished:
                self._undelivered.popleft()
