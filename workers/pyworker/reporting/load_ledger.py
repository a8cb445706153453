"""The books of one PyWorker: what came in, what is in flight, what left and how. Pure.

Two units, never mixed: `cost` is what the ticket promised (the control plane's granted load),
`workload` what the back end's own cost rule counts (the unit of perf). What was really done for a
request is known when it ended, from the answer itself (`used`); served work counts that alone, and
requests in flight weigh what such requests used so far. Every counter only grows, so a lost report
loses nothing: in flight = received - finished.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass
from enum import StrEnum

from workers.pyworker.model.answers import AnswerReader, PromptRead

MAX_UNDELIVERED = 50_000
"""Finished requests kept while the control plane is away; beyond it only the counters know."""


MAX_USED = 1e9
"""Of one request: a made-up number stays a number that a report may carry."""
N_LEARNED_FROM = 64
MIN_LEARNED_FROM = 4
MAX_KINDS = 256
UNLEARNED_FACTOR = 10.0
"""A request of which nothing was learned weighs at most so many usual ones of its route."""


class Outcome(StrEnum):
    """How a request ended; the values are the wire's."""

    SERVED = "Success"
    ERRORED = "Error"
    CANCELLED = "Cancelled"
    REJECTED = "Rejected"
    REFUSED = "Refused"  # by the model server, for the client's own mistake: nobody else's error


@dataclass(slots=True)
class Counters:
    """Cumulative since the process started.

    Finished = served + errored + cancelled + refused + rejected by a full model server. The work of
    `served_workload` is what answers used, all others count what was asked.
    """

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
    n_refused: int = 0
    n_full: int = 0  # turned away by a full model server, after they were received here
    max_reqnum: int = 0
    busy_s: float = 0.0
    prompt_tokens: float = 0.0  # of the answers that told what of their prompt was cached
    cached_tokens: float = 0.0

    @property
    def prompts(self) -> PromptRead | None:
        """What answers told of their prompts; None: none told."""
        if not self.prompt_tokens:
            return None
        return PromptRead(self.prompt_tokens, self.cached_tokens)

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
    route: str = ""
    usual: float = math.inf  # what a request of the route asks for that says nothing
    is_session: bool = False
    is_in_session: bool = False  # told with the session, under whose request_idx it runs


@dataclass(eq=False, slots=True)
class Entry:
    """A request in flight; `work_started_at` is 0 while it queues."""

    facts: RequestFacts
    entered_at: float
    work_started_at: float = 0.0
    reader: AnswerReader | None = None


@dataclass(frozen=True, slots=True)
class FinishedRequest:
    """A request to tell the control plane about. Epoch seconds, 0 = not reached.

    `used`: load that the model server really did for it, None where its answers do not tell.
    """

    facts: RequestFacts
    outcome: Outcome
    entered_at: float
    work_started_at: float
    completed_at: float
    used: float | None = None


class LearnedWork:
    """What requests of a route really use, against what they say. Pure.

    Callers state caps (32,000 tokens, the whole context) far above what is generated, so that what
    they say is no measure of the work in flight.
    """

    def __init__(self) -> None:
        self._used: dict[tuple[str, int], deque[float]] = {}

    def take(self, facts: RequestFacts, used: float) -> None:
        """One that was served."""
        kept = self._used.setdefault(_kind(facts), deque(maxlen=N_LEARNED_FROM))
        kept.append(used)
        if len(self._used) > MAX_KINDS:
            self._used.pop(next(iter(self._used)))

    def expected(self, facts: RequestFacts) -> float:
        """The load to expect of a request: what it says, at most what its like used."""
        kept = self._used.get(_kind(facts))
        if not kept or len(kept) < MIN_LEARNED_FROM:
            return min(facts.workload, facts.usual * UNLEARNED_FACTOR)
        return min(facts.workload, sum(kept) / len(kept))


def _kind(facts: RequestFacts) -> tuple[str, int]:
    """Requests that say about the same: within a factor of two."""
    return facts.route, math.frexp(max(facts.workload, 1.0))[1]


class LoadLedger:
    """Counts requests, those inside sessions too; these are told with their session."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._in_flight: set[Entry] = set()
        self._undelivered: deque[FinishedRequest] = deque(maxlen=MAX_UNDELIVERED)
        self._counted_until = 0.0
        self._learned = LearnedWork()

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

    def leave(self, entry: Entry, outcome: Outcome, now: float, used: float | None = None) -> float:
        """A request ended; it is out of the books before this returns; the load it counted for.

        `used`: the load really done for it, None where nobody knows. Of a client that left, what
        had come by then is.
        """
        self._count_busy_time(now)
        self._in_flight.remove(entry)
        facts, counters = entry.facts, self.counters
        counters.finished_load += facts.cost
        counters.finished_workload += facts.workload
        if used is None and entry.reader and outcome is not Outcome.SERVED:
            used = entry.reader.done().work
        used = None if used is None else min(used, MAX_USED)
        if outcome is Outcome.SERVED:
            counters.n_served += 1
            counters.served_workload += facts.workload if used is None else used
            if used is not None:
                self._learned.take(facts, used)
        elif outcome is Outcome.CANCELLED:
            counters.n_cancelled += 1
            counters.cancelled_workload += facts.workload
        elif outcome is Outcome.REFUSED:
            counters.n_refused += 1
        elif outcome is Outcome.REJECTED:
            counters.n_full += 1
        else:
            counters.n_errored += 1
        completed_at = 0.0 if outcome is Outcome.CANCELLED else now
        if not facts.is_in_session:
            self._undelivered.append(
                FinishedRequest(
                    facts, outcome, entry.entered_at, entry.work_started_at, completed_at, used
                )
            )
        return facts.workload if used is None else used

    def prompts_read(self, prompt: PromptRead | None) -> None:
        """What an answer told of its prompt, if it did."""
        if prompt is not None:
            self.counters.prompt_tokens += min(prompt.tokens, MAX_USED)
            self.counters.cached_tokens += min(prompt.cached, MAX_USED)

    def reject(self, facts: RequestFacts, now: float) -> None:
        """An authentic request that was turned away (queue too long, too many sessions)."""
        self.counters.n_rejected += 1
        self.counters.rejected_load += facts.cost
        self.counters.rejected_workload += facts.workload
        self.counters.max_reqnum = max(self.counters.max_reqnum, facts.reqnum)
        if not facts.is_in_session:
            self._undelivered.append(FinishedRequest(facts, Outcome.REJECTED, now, 0.0, 0.0, 0.0))

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
        """Workload in flight, sessions included: what such requests were found to use."""
        return sum(self._learned.expected(entry.facts) for entry in self._in_flight)

    @property
    def queued_workload(self) -> float:
        """Workload a newcomer waits behind: in flight without sessions."""
        return sum(
            self._learned.expected(e.facts) for e in self._in_flight if not e.facts.is_session
        )

    @property
    def working_request_idxs(self) -> list[int]:
        """`request_idx` of what is in flight, ascending."""
        return sorted(
            entry.facts.request_idx for entry in self._in_flight if not entry.facts.is_in_session
        )

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
