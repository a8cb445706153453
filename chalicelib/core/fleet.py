"""A group's workers by the part they play in a round, per autogroup."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from chalicelib.core.autogroup import Autogroup, AutogroupState
from chalicelib.core.learning import BOOTING_STATES, Beliefs
from chalicelib.core.snapshot import GroupSnapshot, PendingRental, WorkerFacts
from chalicelib.core.worker import WorkerState

SILENT_STATES = frozenset({WorkerState.SUSPECT, WorkerState.UNREACHABLE})
SILENT_SHARE = 0.5  # more silent at once than this is our own trouble (design.md 5)


@dataclass(frozen=True, slots=True)
class Round:
    """What every part of a decision needs: the snapshot, what is believed, the time."""

    snapshot: GroupSnapshot
    beliefs: Beliefs
    now: float

    def capacity(self, worker: WorkerFacts) -> float:
        """Load per second that a worker serves, or is expected to."""
        return self.beliefs.capacity_of(worker)

    def usd_per_load(self, worker: WorkerFacts) -> float:
        """Price per capacity: what a worker is ranked by. Unknown capacity ranks last."""
        capacity = self.beliefs.capacity_of(worker)
        return worker.usd_per_hour / capacity if capacity > 0 else float("inf")

    def may_destroy(self) -> bool:
        """Whether anything may be returned: only on a known inventory (design.md 7)."""
        return self.snapshot.inventory_is_known and not self.snapshot.group.frozen


@dataclass(slots=True)
class Pool:
    """An autogroup's workers in the order of their ids, by part. `autogroup` None: orphans."""

    autogroup: Autogroup | None
    ready: list[WorkerFacts] = field(default_factory=list)
    draining: list[WorkerFacts] = field(default_factory=list)
    starting: list[WorkerFacts] = field(default_factory=list)
    booting: list[WorkerFacts] = field(default_factory=list)
    stopped: list[WorkerFacts] = field(default_factory=list)
    refused: list[WorkerFacts] = field(default_factory=list)
    silent: list[WorkerFacts] = field(default_factory=list)
    broken: list[WorkerFacts] = field(default_factory=list)
    stopping: list[WorkerFacts] = field(default_factory=list)
    leaving: list[WorkerFacts] = field(default_factory=list)  # being destroyed
    rentals: list[PendingRental] = field(default_factory=list)

    @property
    def is_active(self) -> bool:
        """Whether the owner wants this autogroup to serve."""
        return self.autogroup is not None and self.autogroup.state is AutogroupState.ACTIVE

    @property
    def loaded(self) -> list[WorkerFacts]:
        """Workers that hold the model and can serve, now or after a start."""
        up = self.ready + self.draining + self.starting
        return up + self.stopping + self.stopped + self.refused

    @property
    def on_order(self) -> int:
        """Machines rented or being rented that never were ready."""
        return len(self.booting) + len(self.rentals)


_PART_OF_STATE = {
    WorkerState.READY: "ready",
    WorkerState.DRAINING: "draining",
    WorkerState.STARTING: "starting",
    WorkerState.REBOOTING: "starting",
    WorkerState.STOPPED: "stopped",
    WorkerState.UNAVAILABLE: "refused",
    WorkerState.SUSPECT: "silent",
    WorkerState.UNREACHABLE: "silent",
    WorkerState.ERROR: "broken",
    WorkerState.STOPPING: "stopping",
    WorkerState.DESTROYING: "leaving",
    **dict.fromkeys(BOOTING_STATES, "booting"),
}


def sort_into_pools(
    snapshot: GroupSnapshot, workers: Iterable[WorkerFacts]
) -> tuple[list[Pool], Pool]:
    """A pool per autogroup by tier and id, and the pool of workers whose autogroup is gone."""
    autogroups = sorted(snapshot.autogroups, key=lambda item: (item.tier, item.autogroup_id))
    pools = {item.autogroup_id: Pool(item) for item in autogroups}
    orphans = Pool(None)
    for worker in workers:
        pool = pools.get(worker.autogroup_id, orphans)
        getattr(pool, _PART_OF_STATE[worker.state]).append(worker)
    for rental in sorted(snapshot.rentals, key=lambda item: (item.begun_at, item.machine_id)):
        pools.get(rental.autogroup_id, orphans).rentals.append(rental)
    return list(pools.values()), orphans


def silence_is_ours(pools: Iterable[Pool]) -> bool:
    """Whether so many workers went silent at once that the fault must be on our side."""
    silent = up = 0
    for pool in pools:
        silent += len(pool.silent)
        up += len(pool.ready) + len(pool.draining) + len(pool.silent)
    return silent > 1 and silent > SILENT_SHARE * up
