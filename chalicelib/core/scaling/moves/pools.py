"""A group's workers by the part they play in a round, per autogroup."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.lifecycle import SUSPECT_AFTER_S, is_their_own
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.hazard import Bid, loss_rate, loss_usd
from chalicelib.core.scaling.learning import Beliefs
from chalicelib.core.scaling.occupancy import service_s
from chalicelib.core.scaling.snapshot import GroupSnapshot, PendingRental, WorkerFacts

SILENT_SHARE = 0.5  # more silent at once than this is our own trouble (decisions/0032)
WARM_SHARE = 0.02  # as near as finishes are to count as equal (core/routing/choice.py)
HOPE_S = 120.0  # an unreachable worker counts so long: half of all reports may be lost for a while
AT_ONCE_S = 60.0  # silences that begin within this of each other may have one cause


@dataclass(frozen=True, slots=True)
class Round:
    """What every part of a decision needs: the snapshot, what is believed, the time."""

    snapshot: GroupSnapshot
    beliefs: Beliefs
    now: float
    _bid_prices: dict[int, float] = field(default_factory=dict, compare=False)

    def capacity(self, worker: WorkerFacts) -> float:
        """Load per second that a worker serves, or is expected to."""
        return self.beliefs.capacity_of(worker)

    def usd_per_load(self, worker: WorkerFacts) -> float:
        """Price per capacity: what a worker is ranked by. Unknown capacity ranks last."""
        capacity = self.beliefs.capacity_of(worker)
        if 0 < worker.rank_perf < capacity:
            capacity = worker.rank_perf
        return self.usd_per_hour(worker) / capacity if capacity > 0 else float("inf")

    def usd_per_hour(self, worker: WorkerFacts) -> float:
        """What a worker costs an hour; an interruptible one with what its losses cost."""
        if not worker.is_bid:
            return worker.usd_per_hour
        known = self._bid_prices.get(worker.instance_id)
        if known is None:
            known = worker.usd_per_hour + self.loss_usd_per_hour(worker)
            self._bid_prices[worker.instance_id] = known
        return known

    def usd_per_hour_kept(self, worker: WorkerFacts) -> float:
        """What it costs an hour to keep it: of workers that cost the same, the warmest costs least.

        What a cache holds is worth up to `WARM_SHARE` of a worker's price; so prices within that of
        each other are equal, and of equals the one with the coldest cache leaves first.
        """
        warmth = worker.cache.warmth if worker.cache is not None else 0.0
        return self.usd_per_hour(worker) * (1.0 - WARM_SHARE * warmth)

    def usd_per_load_kept(self, worker: WorkerFacts) -> float:
        """As `usd_per_load`, of what it costs to keep it."""
        usd = self.usd_per_hour(worker)
        return self.usd_per_load(worker) * (self.usd_per_hour_kept(worker) / usd if usd else 1.0)

    def loss_usd_per_hour(self, machine: WorkerFacts) -> float:
        """What the losses of an interruptible machine cost an hour, on the average."""
        memory = self.beliefs.memory
        bid = Bid.of_worker(machine)
        per_loss = loss_usd(
            2.0 * machine.usd_per_hour, self.beliefs.start_time().median, service_s(memory)
        )
        return loss_rate(memory, bid) * 3600.0 * per_loss

    def may_destroy(self) -> bool:
        """Whether anything may be returned: only on a known inventory (reliability.md 1)."""
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
    paused: list[WorkerFacts] = field(default_factory=list)  # interruptible, and outbid
    refused: list[WorkerFacts] = field(default_factory=list)
    silent: list[WorkerFacts] = field(default_factory=list)  # for a while, or by our own trouble
    lost: list[WorkerFacts] = field(default_factory=list)  # unreachable by their own
    unreachable: list[WorkerFacts] = field(default_factory=list)  # ready, without an address
    broken: list[WorkerFacts] = field(default_factory=list)
    stopping: list[WorkerFacts] = field(default_factory=list)
    leaving: list[WorkerFacts] = field(default_factory=list)  # being destroyed
    foreign: list[WorkerFacts] = field(default_factory=list)  # another version's: left alone
    rentals: list[PendingRental] = field(default_factory=list)
    unheard: set[int] = field(default_factory=set)  # requests are late, and nobody is heard

    @property
    def is_active(self) -> bool:
        """Whether the owner wants this autogroup to serve."""
        return self.autogroup is not None and self.autogroup.state is AutogroupState.ACTIVE

    @property
    def is_foreign(self) -> bool:
        """Whether another version wrote the autogroup: its workers are left alone."""
        return self.autogroup is not None and self.autogroup.state is AutogroupState.FOREIGN

    @property
    def serving(self) -> list[WorkerFacts]:
        """Workers that serve, or say that they do."""
        return self.heard(self.ready)

    def heard(self, workers: Iterable[WorkerFacts]) -> list[WorkerFacts]:
        """Those of some workers that are counted on."""
        return [worker for worker in workers if worker.instance_id not in self.unheard]

    def hoped_for(self, now: float) -> list[WorkerFacts]:
        """Workers that nobody hears, and that may come back by themselves."""
        return self.silent + [w for w in self.lost if now - w.state_since <= HOPE_S]

    @property
    def loaded(self) -> list[WorkerFacts]:
        """Workers that hold the model and can serve, now or after a start."""
        up = self.ready + self.draining + self.starting
        return up + self.stopping + self.stopped + self.refused

    @property
    def on_order(self) -> int:
        """Machines rented or being rented that never were ready."""
        return len(self.booting) + len(self.unreachable) + len(self.rentals)


_PART_OF_STATE = {
    WorkerState.READY: "ready",
    WorkerState.DRAINING: "draining",
    WorkerState.STARTING: "starting",
    WorkerState.REBOOTING: "starting",
    WorkerState.STOPPED: "stopped",
    WorkerState.PAUSED: "paused",
    WorkerState.UNAVAILABLE: "refused",
    WorkerState.SUSPECT: "silent",
    WorkerState.UNREACHABLE: "lost",
    WorkerState.ERROR: "broken",
    WorkerState.STOPPING: "stopping",
    WorkerState.DESTROYING: "leaving",
    WorkerState.FOREIGN: "foreign",
    **{state: "booting" for state in WorkerState if state.is_first_load},
}


_TELLS_OF_ITSELF = frozenset({WorkerState.READY, WorkerState.DRAINING, WorkerState.SUSPECT})
"""States in which a worker reports: one that does so is there, whatever a listing says."""


def sort_into_pools(
    snapshot: GroupSnapshot, workers: Iterable[WorkerFacts], now: float
) -> tuple[list[Pool], Pool]:
    """A pool per autogroup by tier and id, and the pool of workers whose autogroup is gone."""
    autogroups = sorted(snapshot.autogroups, key=lambda item: (item.tier, item.autogroup_id))
    pools = {item.autogroup_id: Pool(item) for item in autogroups}
    orphans = Pool(None)
    for worker in workers:
        pool = pools.get(worker.autogroup_id, orphans)
        part = _PART_OF_STATE[worker.state]
        if part == "ready" and not worker.has_address:
            part = "unreachable"
        if worker.is_missing and worker.state not in _TELLS_OF_ITSELF:
            part = "leaving"  # it counts against the caps, and for nothing else
        getattr(pool, part).append(worker)
    _pardon_common_silence([*pools.values(), orphans], now)
    if snapshot.waiting.n_overdue > 0 and snapshot.hears_nobody(now):
        for pool in pools.values():
            pool.unheard = {w.instance_id for w in pool.ready + pool.draining + pool.silent}
    for rental in sorted(snapshot.rentals, key=lambda item: (item.begun_at, item.machine_id)):
        pools.get(rental.autogroup_id, orphans).rentals.append(rental)
    return list(pools.values()), orphans


def _pardon_common_silence(pools: Sequence[Pool], now: float) -> None:
    """Who went silent at once with more than half of those that were up is not lost.

    Then the fault must be on our side, unless another that is heard has come up since. Workers that
    go silent one after another are lost one by one, however many they come to be.
    """
    up = [worker for pool in pools for worker in pool.ready + pool.draining]
    began = sorted(worker.state_since for pool in pools for worker in pool.silent + pool.lost)
    heard = [w.started_at for w in up if now - w.heard_at <= SUSPECT_AFTER_S]
    came_up_at = max(heard, default=0.0)
    for pool in pools:
        for worker in list(pool.lost):
            first = bisect_left(began, worker.state_since - AT_ONCE_S)
            n_at_once = bisect_right(began, worker.state_since + AT_ONCE_S) - first
            is_shared = n_at_once > max(1.0, SILENT_SHARE * (len(up) + len(began) - first))
            if is_shared and not is_their_own(worker.heard_at, came_up_at):
                pool.lost.remove(worker)
                pool.silent.append(worker)
