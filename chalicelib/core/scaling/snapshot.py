"""Snapshots: all that a scaling decision may look at, read before it, and nothing else.

The Lambda, `plan`, shadow mode, replay and the simulator all build this value and call
`core.scaling.decide_scaling(snapshot, memory, now)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.endpoint_group import EndpointGroup
from chalicelib.core.model.lifecycle import UNREACHABLE_AFTER_S
from chalicelib.core.model.market import Offer
from chalicelib.core.model.warmth import CacheUse
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import Action
from chalicelib.core.scaling.reasons import Reason

TELLING_STATES = frozenset(
    {WorkerState.READY, WorkerState.DRAINING, WorkerState.SUSPECT, WorkerState.UNREACHABLE}
)
"""States in which a worker should report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerFacts:
    """A worker as the decision sees it; `load.py` derived the loads from reports and grants."""

    instance_id: int
    autogroup_id: int
    state: WorkerState
    state_since: float
    created_at: float
    gpu_type: str  # "1x RTX 4090"
    machine_id: int
    usd_per_hour: float
    storage_usd_per_hour: float
    perf: float  # measured load per second, 0 until benchmarked
    rank_perf: float = 0.0  # what its price is ranked by; 0 = perf
    told_perf: float = 0.0  # what is learned of its type; 0 = perf
    observed_perf: float = 0.0
    dlperf: float = 0.0
    load_s: float = 0.0  # of its first load, as predicted; 0 = nobody did
    host_id: int = 0  # 0 = unknown
    pending_load: float = 0.0  # in flight at the worker, or granted and on the way
    n_working: int = 0
    disk_usage_gb: float = 0.0  # image and model, as the worker reports it; 0 = unknown
    n_pending: int = 0  # requests that `pending_load` is of, about
    slots: int = 1  # requests served at once, as far as known
    loaded_at: float = 0.0  # 0 = never loaded
    started_at: float = 0.0  # when it last came up; 0 = never
    heard_at: float = math.inf  # its last report, or when it came up; inf = nobody asks
    drain_by: float | None = None
    after_drain: str | None = None
    n_start_refusals: int = 0
    contract_ends_at: float | None = None
    is_outdated: bool = False  # of an older template revision than its autogroup's
    error: str = ""
    has_address: bool = True  # without one a ready worker serves nobody
    agreed_usd_per_hour: float = 0.0  # what its offer said; 0 = unknown
    is_overbilling: bool = False  # it bills far above that
    ran_on_s: float = 0.0  # after a reboot that did not happen; see `lifecycle.ran_on_s`
    n_reboot_refusals: int = 0  # in a row
    failing: str = ""  # how its requests fail, if far more than its peers' do
    is_missing: bool = False  # not listed, and nobody can say whether it is gone
    is_at_rest: bool = False  # surely not billed for its GPU, whatever its state
    is_bid: bool = False  # interruptible
    bid_margin: float = 1.0  # the bid over the least that won when it was made
    bid_usd_per_hour: float = 0.0
    on_demand_usd_per_hour: float = 0.0  # of the same machine, when it was rented; 0 = unknown
    place: str = ""  # machines of one place are lost together
    cache: CacheUse | None = None  # what it found in its cache lately; None: it does not tell
    progress_at: float = 0.0  # when the host's account of a first load last changed; 0 = unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """The requests of a group that wait for a worker now."""

    n: int = 0
    load: float = 0.0
    n_overdue: int = 0  # cannot start within target_queue_time any more
    overdue_load: float = 0.0
    on_demand_load: float = 0.0  # of those that take no interruptible worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """What happened since the previous round."""

    elapsed_s: float = 0.0
    arrived_load: float = 0.0  # of new requests, granted or waiting
    vouched_load: float | None = None  # of it what came to a worker; None: all of it
    usual_load: float = 0.0  # what a request uses by what workers finished; 0 = nobody knows
    n_arrived: int = 0
    n_started: int = 0  # requests that began to be served
    n_late: int = 0  # of those, after more than target_queue_time
    n_refused: int = 0  # reservations that others' grants refused before those
    queue_time_s: float = 0.0  # expected wait of a request that arrives now
    last_request_at: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingRental:
    """A rental that was begun and is not confirmed: counts against every cap."""

    autogroup_id: int
    gpu_type: str
    usd_per_hour: float
    begun_at: float
    machine_id: int = 0
    dlperf: float = 0.0
    is_bid: bool = False
    is_unsettled: bool = False  # its call ended without a clear answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Caps:
    """What may still be committed, the lower of the group's and the account's limits."""

    free_usd_per_hour: float = float("inf")
    free_workers: int = 1_000_000
    may_rent: bool = True
    bound_by: str = ""  # the cap that bounds `free_usd_per_hour`
    why_not: str = ""  # e.g. "cap_day", "inventory_unknown", "frozen", "breaker_open"
    exceeded: str = ""  # the cap that is passed already, so that the group is wound down


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSnapshot:
    """One endpoint group at one moment."""

    group: EndpointGroup
    autogroups: tuple[Autogroup, ...]
    workers: tuple[WorkerFacts, ...]
    waiting: Waiting = field(default_factory=Waiting)
    traffic: Traffic = field(default_factory=Traffic)
    rentals: tuple[PendingRental, ...] = ()
    offers: Mapping[int, tuple[Offer, ...]] = field(default_factory=dict)  # by autogroup_id
    caps: Caps = field(default_factory=Caps)
    inventory_is_known: bool = True
    listed_at: float = math.inf  # when what the workers' states say was last listed
    reports_are_missing: bool = False  # by our own trouble, now or a moment ago
    avoided_machines: frozenset[int] = frozenset()
    set_aside: Mapping[str, float] = field(default_factory=dict)  # until when, see core/fleet
    may_return_failing: bool = True  # not after several in a row: then the template is at fault
    may_fill_reserve: bool = True  # not while machines do not stop: none could be parked
    may_rent_anew: bool = True  # the hour's brake on rentals is not reached
    open_breakers: frozenset[int] = frozenset()  # autogroups whose template only fails

    def hears_nobody(self, now: float) -> bool:
        """Whether workers are up, and none of them was heard for a minute."""
        up = [worker for worker in self.workers if worker.state in TELLING_STATES]
        return bool(up) and all(now - worker.heard_at > UNREACHABLE_AFTER_S for worker in up)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingPlan:
    """What a round decided: actions in order, the next memory, and the figures behind them."""

    actions: tuple[Action, ...]
    memory: Mapping[str, object]  # plain JSON values, a few KB; what the next round gets
    hot_target: float  # wanted ready capacity, load per second
    total_target: float  # wanted ready + cold capacity, load per second
    binding: str  # the term that set hot_target: "occupancy", "min_load", "target_util", …
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[Reason, ...] = ()  # why something was not done: caps, breakers, doubt
    wants_offers: frozenset[int] = frozenset()  # autogroups for which offers should be searched
    wants_looks: frozenset[int] = frozenset()  # whose offers a look at better machines needs
    wants_bids: frozenset[int] = frozenset()  # autogroups for which interruptible ones should be
