"""The routing view: what routers know of a group, built from its worker rows and who waits.

Workers are dealt to shards of at most `SHARD_SIZE`, autogroup by autogroup, so that each shard is a
fair sample of the fleet; a router reads one shard at each refresh.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from chalicelib.core.model.load import (
    believed_perf,
    came_share,
    goes_unused,
    goes_unused_at_others,
    grant_pace,
    granted_beyond,
    granted_within,
    headroom_load,
    is_busy,
    mean_seen_cost,
    queued_load,
)
from chalicelib.core.model.usable import usable_workers
from chalicelib.core.model.usage import Use, combine_uses, heard, usual_use
from chalicelib.core.model.vouching import lower_median, usual_perfs, vouch_routing
from chalicelib.core.model.warmth import SPARED_SPAN_S, spared_share
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.routing.admission import (
    AdmissionParams,
    ClientKind,
    Cutoffs,
    Queued,
    bind_within_s,
    decide_cutoffs,
    is_overdue,
    turn_at,
    typical_cost_of,
)
from chalicelib.core.routing.directory import GroupFacts
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.queue_place import QueueProfile, profile_queue

SHARD_SIZE = 250  # 80 bytes a worker: a shard is one small read (performance.md)
ROOM_HORIZON_S = 3.0
"""Waiting requests ask about this often, so a view's cut-offs must offer work until then."""

RATE_SPAN_S = 20.0  # as long as what a worker has not shown counts (core/model/load.py)
READS_KEYS_SINCE = (2, 1)  # workers/pyworker/reporting/messages.py: REPORT_VERSION
LOADING_S = 300.0  # scaling.md 11: the prior of a first load
STARTING_S = 45.0
"""How long first loads and restarts take, where the group has no experience of its own."""

_COMING = {
    WorkerState.CREATING,
    WorkerState.LOADING,
    WorkerState.MODEL_LOADING,
    WorkerState.STARTING,
    WorkerState.REBOOTING,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingView:
    """One shard of a view."""

    group: GroupFacts
    built_at: float
    n_by_state: Mapping[str, int] = field(default_factory=dict)
    cutoffs: Cutoffs = field(default_factory=Cutoffs)
    queue: QueueProfile = field(default_factory=QueueProfile)
    workers: tuple[RoutableWorker, ...] = ()
    grants_per_s: float = 0.0  # to this shard's workers by all routers together, lately
    usual_cost: float = 0.0  # of a request granted by any of them, ever
    came_share: float = 1.0  # of what is granted, how much comes to the workers
    uses: tuple[Use, ...] = ()  # what requests used, see core/model/usage.py
    n_waiting: Mapping[str, int] = field(default_factory=dict)  # requests in the queue, by key
    spared_share: float | None = None  # of the load lately, what caches spared; None: untold


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLoad:
    """A worker's perf, what is queued there, and the part of it that makes nobody wait."""

    perf: float
    queued: float
    headroom: float


def rebuild_interval_s(n_workers: int) -> float:
    """How often a view is rebuilt at most: reading the rows costs in proportion to their number."""
    return max(1.0, n_workers / 500)


def build_view(
    group: GroupFacts,
    rows: Sequence[Worker],
    waiting: Sequence[Queued],
    now: float,
    *,
    shares: Mapping[str, float] | None = None,
) -> list[RoutingView]:
    """The shards of a group's view; `shares` weighs callers' keys."""
    rows = vouch_routing(rows, now)
    ready = routable_rows(group, rows, now)
    uses = combine_uses(heard(row.uses, row.reqnum) for row in rows)
    usual_cost = usual_use(uses) or mean_seen_cost(rows)
    is_wasted = goes_unused(ready)
    least = least_queued(ready, usual_cost, now)
    loads = [
        WorkerLoad(
            perf=believed_perf(w),
            queued=max(queued_load(w, now, usual_cost, is_wasted=is_wasted), least_w),
            headroom=headroom_load(w, usual_cost),
        )
        for w, least_w in zip(ready, least, strict=True)
    ]
    capacity_at, coming = _coming_capacity(rows)
    typical_cost = typical_cost_of(waiting, group.params)
    queue = QueueProfile(
        points=profile_queue(waiting, typical_cost, group.params, now),
        queued=sum(max(0.0, load.queued - load.headroom) for load in loads),
        capacity=sum(load.perf for load in loads),
        capacity_at=capacity_at,
        coming_capacity=coming,
        typical_cost=typical_cost,
    )
    workers = _routable(group, ready, loads, now)
    n_shards = max(1, -(-len(workers) // SHARD_SIZE))
    room = _room(group, ready, loads, waiting, usual_cost, now)
    cutoffs = decide_cutoffs(
        waiting, room, group.params, now, shares=shares, ask_again_s=ROOM_HORIZON_S
    )
    n_by_state = dict(sorted(Counter(w.state.value for w in rows).items()))
    n_waiting = dict(Counter(request.key_id for request in waiting))
    spared = spared_share((w.cache, granted_within(w, SPARED_SPAN_S, now)) for w in rows)
    return [
        RoutingView(
            group=group,
            built_at=now,
            n_by_state=n_by_state,
            cutoffs=cutoffs,
            queue=queue,
            workers=tuple(workers[shard::n_shards]),
            grants_per_s=grant_rate(rows, now) / n_shards,
            usual_cost=usual_cost,
            came_share=came_share(ready, now),
            uses=uses,
            n_waiting=n_waiting,
            spared_share=spared,
        )
        for shard in range(n_shards)
    ]


def least_queued(ready: Sequence[Worker], usual_cost: float, now: float) -> list[float]:
    """What must still be queued at each worker by what we granted it, whatever it reports.

    Only where most say that they are busy: one that then always claims to be idle would take all
    that is beyond the others' part. The busy ones tell how much of what is granted a second can be
    served, since stated costs may be above what is used; no more is believed of anybody, beyond
    chance, than of the machines of its type. With a tenth more, one beside one honest took 0.66 of
    the load at 0.85 of what both serve; in honest fleets it changed nothing.

    Nothing at one of which others say that callers leave tickets unused: what never came is queued
    nowhere. Its own word for that does not count, or a liar would have a second way.
    """
    busy = [worker for worker in ready if is_busy(worker)]
    if not busy or 2 * len(busy) < len(ready):
        return [0.0] * len(ready)
    times = max(1.0, lower_median(_times_perf(worker, now) for worker in busy))
    return [
        0.0 if is_wasted else granted_beyond(worker, perf * times, usual_cost, now)
        for worker, perf, is_wasted in zip(
            ready, usual_perfs(ready), goes_unused_at_others(ready), strict=True
        )
    ]


def _times_perf(worker: Worker, now: float) -> float:
    return grant_pace(worker, RATE_SPAN_S, now) / believed_perf(worker)


def _room(
    group: GroupFacts,
    ready: Sequence[Worker],
    loads: Sequence[WorkerLoad],
    waiting: Sequence[Queued],
    usual_cost: float,
    now: float,
) -> float:
    """Load that may be bound until the waiting ask again; where slots are known, they count."""
    service_s = fmean((load.headroom + usual_cost) / load.perf for load in loads) if loads else 0.0
    # The cut-offs are for all alike: if somebody polls at random, they reach as far as that needs.
    are_paced = all(request.is_paced for request in waiting)
    kind = ClientKind.PACED if are_paced else ClientKind.RANDOM
    room = room_load(
        ((load.perf, load.queued - load.headroom) for load in loads),
        bind_s=bind_within_s(kind, group.params, service_s),
        horizon_s=ROOM_HORIZON_S,
    )
    if usual_cost > 0 and all(worker.slots > 1 for worker in ready):
        return load_of_first(waiting, room / usual_cost, group.params, now)
    return room


def routable_rows(group: GroupFacts, rows: Iterable[Worker], now: float) -> list[Worker]:
    """The workers that may be given requests: ready, measured, addressed and heard of."""
    known = {a.autogroup_id for a in group.autogroups}
    return sorted(
        (w for w in usable_workers(rows, now) if w.autogroup_id in known),
        key=lambda w: (w.autogroup_id, w.instance_id),
    )


def grant_rate(rows: Iterable[Worker], now: float) -> float:
    """Grants per second of all routers together, over the last 20 s."""
    rows = list(rows)
    n_grants, load = sum(w.reqnum for w in rows), sum(w.granted_load for w in rows)
    if not load:
        return 0.0
    lately = sum(granted_within(w, RATE_SPAN_S, now) for w in rows)
    return lately / RATE_SPAN_S * n_grants / load


def _routable(
    group: GroupFacts, ready: Sequence[Worker], loads: Sequence[WorkerLoad], now: float
) -> list[RoutableWorker]:
    index_of = {a.autogroup_id: i for i, a in enumerate(group.autogroups)}
    workers = []
    for row, load in zip(ready, loads, strict=True):
        index = index_of[row.autogroup_id]
        reported = row.ticket.value if row.ticket else "A"
        generation = group.autogroups[index].generation or reported
        if generation == "D" and not row.boot_id:
            continue  # a bound ticket needs a boot to be bound to
        workers.append(
            RoutableWorker(
                instance_id=row.instance_id,
                autogroup_index=index,
                perf=load.perf,
                usd_per_hour=_ranked_usd(row, load.perf),
                free_at=now + load.queued / load.perf,
                headroom_s=load.headroom / load.perf,
                granted_load=row.granted_load,
                known_at=now,
                generation=generation,
                reads_keys=generation == "D" and _reads_keys(row.version),
                boot_id=row.boot_id,
                key_id=row.key_id,
                url=row.url,
                certificate_sha256=row.certificate_sha256,
                is_bid=row.is_bid,
            )
        )
    return workers


def _reads_keys(version: str) -> bool:
    """Whether a PyWorker of ours takes tickets that name their key, by the version it reports."""
    numbers = version.split(".")[:2]
    return all(n.isdecimal() for n in numbers) and tuple(map(int, numbers)) >= READS_KEYS_SINCE


def _ranked_usd(row: Worker, perf: float) -> float:
    """The price as routers rank it: by the perf that is vouched for."""
    return row.usd_per_hour * (perf / row.rank_perf if 0 < row.rank_perf < perf else 1.0)


def _coming_capacity(rows: Sequence[Worker]) -> tuple[float | None, float]:
    """(when the next worker is expected to be ready, the capacity on its way)."""
    coming = [w for w in rows if w.state in _COMING]
    measured = [w.perf for w in rows if w.perf > 0]
    if not coming:
        return None, 0.0
    typical = sum(measured) / len(measured) if measured else 1.0
    loads_s = [w.loaded_at - w.created_at for w in rows if w.loaded_at > 0]
    loading_s = sum(loads_s) / len(loads_s) if loads_s else LOADING_S
    expected = [
        w.state_since + STARTING_S if w.loaded_at > 0 else w.created_at + (w.load_s or loading_s)
        for w in coming
    ]
    return min(expected), sum(w.perf or typical for w in coming)


# Room: how much of what waits may be bound now, by load or by free slots.


def room_load(workers: Iterable[tuple[float, float]], *, bind_s: float, horizon_s: float) -> float:
    """Load that may be bound within `horizon_s` to workers given as (perf, pending load)."""
    return sum(max(0.0, perf * (bind_s + horizon_s) - pending) for perf, pending in workers)


def load_of_first(
    waiting: Sequence[Queued], n: float, params: AdmissionParams, now: float
) -> float:
    """The load of the first `n` in turn: what so many slots take, a request each, large or small.

    Slots beyond those who wait count as one of typical cost each.
    """
    typical = typical_cost_of(waiting, params)
    keys = (
        (is_overdue(r.first_seen_at, now, params), turn_at(r, typical, params), r.cost)
        for r in waiting
    )
    costs = [cost for _, _, cost in sorted(keys)]
    n_whole = min(math.floor(n), len(costs))
    next_cost = costs[n_whole] if n_whole < len(costs) else typical
    return sum(costs[:n_whole]) + (n - n_whole) * next_cost
