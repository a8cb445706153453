"""The soak's own books: what became of each request, and whether the worker rows agree. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from chalicelib.core.model.worker import Worker

ROUNDING = 1e-3  # loads are kept to six decimals; sums of thousands drift by less than this


class Fate(StrEnum):
    """How a request ended: exactly one of these."""

    ANSWERED = "answered"
    DIED_WAITING = "died_waiting"  # its client gave up in the queue, as told
    DIED_WITH_TICKET = "died_with_ticket"  # its client was granted a worker and never went there
    EXPIRED = "expired"  # its client's patience ended
    REFUSED = "refused"  # `/route/` said no: it never should


@dataclass(slots=True)
class Sold:
    """What one worker was granted, by reqnum, and what clients brought there."""

    costs: dict[int, float] = field(default_factory=dict)
    delivered: float = 0.0  # load that the worker answered for
    doubtful: float = 0.0  # load whose connection broke: it may have arrived


@dataclass(slots=True)
class Books:
    """Every request, route call and grant of a run."""

    n_asked: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    n_route_calls: int = 0
    n_lost_replies: int = 0  # calls that ended without an answer: a grant may be lost with each
    n_retries: int = 0  # calls after a grant that failed
    granted_idxs: set[int] = field(default_factory=set)  # of requests that waited and were granted
    waits_s: list[float] = field(default_factory=list)  # from the first call to the last grant
    sold: dict[int, Sold] = field(default_factory=dict)  # by instance id
    problems: list[str] = field(default_factory=list)

    def note_grant(self, instance_id: int, reqnum: int, cost: float) -> None:
        """A client holds a ticket; no two may hold the same."""
        sold = self.sold.setdefault(instance_id, Sold())
        if reqnum in sold.costs:
            self.problems.append(f"worker {instance_id} was granted twice as number {reqnum}")
        sold.costs[reqnum] = cost

    def problems_with(self, rows: Mapping[int, Worker], steady: Collection[int] = ()) -> list[str]:
        """Where requests and rows disagree; nothing if every request is accounted once.

        `rows`: each worker's row as last seen, also of workers that are gone. `steady`: workers
        whose process is the first, so that its own counters tell of all that was brought to it.
        """
        found = list(self.problems)
        if self.fates.total() != self.n_asked:
            found.append(f"{self.n_asked} asked, {self.fates.total()} ended")
        if self.fates[Fate.REFUSED]:
            found.append(f"{self.fates[Fate.REFUSED]} were refused")
        for instance_id, sold in self.sold.items():
            row = rows.get(instance_id)
            if row is None:
                found.append(f"worker {instance_id} has no row")
            else:
                found += _disagreements(row, sold)
                if instance_id in steady:
                    found += _arrivals(row, sold)
        return found

    def n_ghosts(self, rows: Iterable[Worker]) -> int:
        """Grants in the rows that reached no client: replies lost on the way, repeated writes."""
        return sum(
            row.reqnum - len(self.sold[row.instance_id].costs)
            if row.instance_id in self.sold
            else row.reqnum
            for row in rows
        )

    def figures(self) -> dict[str, object]:
        """What to print; waits in seconds."""
        waits = sorted(self.waits_s) or [0.0]
        return {
            "requests": self.n_asked,
            **{fate.value: self.fates[fate] for fate in Fate},
            "route_calls": self.n_route_calls,
            "lost_replies": self.n_lost_replies,
            "retries": self.n_retries,
            "grants": sum(len(sold.costs) for sold in self.sold.values()),
            "workers_used": len(self.sold),
            "wait_p50_s": round(waits[len(waits) // 2], 2),
            "wait_p95_s": round(waits[int(0.95 * len(waits))], 2),
        }


def _disagreements(row: Worker, sold: Sold) -> list[str]:
    """What a worker's row says otherwise than its clients."""
    found, name = [], f"worker {row.instance_id}"
    if max(sold.costs) > row.reqnum:
        found.append(f"{name}: number {max(sold.costs)} granted, row has {row.reqnum}")
    known = sum(sold.costs.values())
    if row.reqnum == len(sold.costs) and row.granted_load > known + ROUNDING:
        found.append(f"{name}: load {known} granted, row has {row.granted_load}")
    if row.granted_load < _least(sold) - ROUNDING:
        found.append(f"{name}: load {known} granted, row has only {row.granted_load}")
    return found


def _least(sold: Sold) -> float:
    """What these grants count as at least.

    Once enough have finished, a request weighs no more than what 99 % of them used
    (core/model/usage.py), and these use what they state.
    """
    usual = sum(sold.costs.values()) / len(sold.costs)
    return sum(min(cost, usual) for cost in sold.costs.values())


def _arrivals(row: Worker, sold: Sold) -> list[str]:
    """What a worker says to have received otherwise than its clients brought."""
    least, most = sold.delivered - ROUNDING, sold.delivered + sold.doubtful + ROUNDING
    if least <= row.received_load <= most:
        return []
    brought = f"{sold.delivered} and perhaps {sold.doubtful} more"
    return [f"worker {row.instance_id}: received {row.received_load}, was brought {brought}"]


def as_facts(sold: Sold, row: Worker | None) -> dict[str, object]:
    """Both sides of one worker's books, for a report of a disagreement."""
    return {
        "sold": {**asdict(sold), "costs": len(sold.costs)},
        "row": None
        if row is None
        else {
            "state": row.state.value,
            "reqnum": row.reqnum,
            "granted_load": row.granted_load,
            "received_load": row.received_load,
        },
    }
