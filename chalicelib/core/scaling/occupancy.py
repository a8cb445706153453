"""Demand as occupancy: how much capacity the requests in the system take now, in load per second.

A request being served takes its slot's share of its worker's perf; a waiting one takes a typical
worker's slot; one that is late anyway is only to be worked off. Occupancy reacts at once and needs
no forecast; its mean equals the arriving load (Little).

Where a worker does not tell its slots, the arriving load takes the place of occupancy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.snapshot import GroupSnapshot, WorkerFacts

# Chosen: an hour, so that a quiet minute does not change the caution.
REQUEST_RATE_WINDOW_S = 3600.0
MIN_ELAPSED_S = 0.1  # rounds closer than this would make rates out of noise
RATE_WINDOW_S = 60.0  # of the smoothed arriving load
BURST_WINDOW_S = 10.0  # of the arriving load that counts while requests wait
WAITING_SHARE = 0.7  # of a slot for a request that waits: some find one that comes free
OVERDUE_WITHIN_S = 120.0  # in which requests that are late already are to be worked off
MEAN_LOAD_WINDOW_N = 200.0  # requests over which a request's load is averaged
MAX_RATE = 1e150  # of loads that counters add up to: its square is finite
REST_SHARE = 0.05  # of one slot of a typical worker: what is left of demand below this is none
REST_WITHIN_S = 1800.0  # the longest hold: while no worker is measured, less than a request in it
REST_REQUESTS_S = 86_400.0  # less than a request in this is a rate of zero
ONE_REQUEST_SHARE = 0.7  # of a typical worker: divided by target_util and with the pool's quarter
# more on top, what a single request asks for stays within one worker, whatever its cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """A group's demand at one moment, load per second; `load_rate` is smoothed arrivals."""

    occupancy: float
    serving: float  # the part of occupancy that is being served
    load_rate: float
    has_work: bool  # a request is served or waits now
    knows_slots: bool = True  # occupancy is counted in slots, not guessed from rates
    # Without grants that nobody has used yet, for what is remembered long; None: there are none.
    lasting_occupancy: float | None = None
    lasting_rate: float | None = None


def measure_demand(snapshot: GroupSnapshot, memory: ScalingMemory, now: float) -> Demand:
    """Demand now; updates the smoothed figures in `memory`."""
    _smooth_arrivals(snapshot, memory, now)
    serving = [worker for worker in snapshot.workers if worker.state.may_hold_requests]
    running = sum(_served_by(worker) for worker in serving)
    occupancy = running + _waiting(snapshot, memory)
    knows_slots = memory.worker_slots > 0 and all(worker.slots > 0 for worker in serving)
    lasting = occupancy
    if not knows_slots:
        occupancy = max(occupancy, _rate_demand(snapshot, memory, _arriving(snapshot, memory)))
        lasting = max(lasting, _rate_demand(snapshot, memory, memory.vouched_rate))
    has_work = snapshot.waiting.n > 0 or any(not is_idle(worker) for worker in serving)
    return Demand(
        occupancy=occupancy,
        serving=running,
        load_rate=memory.load_rate,
        has_work=has_work,
        knows_slots=knows_slots,
        lasting_occupancy=lasting if lasting < occupancy else None,
        lasting_rate=memory.vouched_rate if memory.vouched_rate < memory.load_rate else None,
    )


def is_idle(worker: WorkerFacts) -> bool:
    """Whether nothing is at the worker or on its way to it."""
    return worker.n_working <= 0 and worker.pending_load <= 1e-9


def slot_perf(memory: ScalingMemory) -> float:
    """Load per second of one slot of a typical worker; the whole worker if slots are unknown."""
    return memory.worker_perf / max(memory.worker_slots, 1.0)


def rest_load(memory: ScalingMemory) -> float:
    """Load per second below which demand is none: a share of the slot that one request takes."""
    if memory.worker_perf > 0:
        return REST_SHARE * slot_perf(memory)
    return memory.mean_load / REST_WITHIN_S


def service_s(memory: ScalingMemory) -> float:
    """Seconds for which a typical request takes a slot; 0 while nothing is known."""
    perf = slot_perf(memory)
    return memory.mean_load / perf if perf > 0 else 0.0


def _served_by(worker: WorkerFacts) -> float:
    return max(worker.n_working, 0) / worker.slots * worker.perf if worker.slots > 0 else 0.0


def _waiting(snapshot: GroupSnapshot, memory: ScalingMemory) -> float:
    """What waits and can still be on time asks for a slot; what is late anyway, to be worked off.

    Late requests are served after the others, so capacity for them at once would buy nothing.
    """
    waiting = snapshot.waiting
    n_overdue = min(max(waiting.n_overdue, 0), waiting.n)
    share = slot_perf(memory) if memory.worker_slots > 0 else 0.0
    overdue = min(waiting.overdue_load / OVERDUE_WITHIN_S, n_overdue * share)
    return (waiting.n - n_overdue) * share * WAITING_SHARE + max(overdue, 0.0)


def _rate_demand(snapshot: GroupSnapshot, memory: ScalingMemory, arriving: float) -> float:
    """Demand where slots are unknown: what arrives, and the backlog within the queue target.

    Of a worker's own pending load only what its perf cannot finish within the target is backlog.
    """
    waiting, target_s = snapshot.waiting, snapshot.group.params.target_queue_time
    overdue_load = min(max(waiting.overdue_load, 0.0), waiting.load)
    n_overdue = min(max(waiting.n_overdue, 0), waiting.n)
    asked = [((waiting.load - overdue_load) / target_s, waiting.n - n_overdue)]
    asked.append((overdue_load / OVERDUE_WITHIN_S, n_overdue))
    asked += [
        (max(worker.pending_load - worker.perf * target_s, 0.0) / target_s, _n_at(worker))
        for worker in snapshot.workers
        if worker.state.may_hold_requests
    ]
    return arriving + sum(_at_most(rate, n, memory) for rate, n in asked)


def _n_at(worker: WorkerFacts) -> int:
    return max(worker.n_working, worker.n_pending)


def _at_most(rate: float, n: int, memory: ScalingMemory) -> float:
    """A rate of load that `n` requests ask for: of each at most what one worker serves."""
    if memory.worker_perf <= 0:
        return rate
    return min(rate, n * ONE_REQUEST_SHARE * memory.worker_perf)


def _arriving(snapshot: GroupSnapshot, memory: ScalingMemory) -> float:
    """The arriving load per second; while requests wait, a burst of some seconds counts too."""
    return max(memory.load_rate, memory.burst_rate if snapshot.waiting.n > 0 else 0.0)


def _smooth_arrivals(snapshot: GroupSnapshot, memory: ScalingMemory, now: float) -> None:
    traffic = snapshot.traffic
    elapsed = traffic.elapsed_s if traffic.elapsed_s > 0 else max(now - memory.at, 0.0)
    if elapsed > 0:
        elapsed = max(elapsed, MIN_ELAPSED_S)
        keep = math.exp(-elapsed / RATE_WINDOW_S)
        arrived = max(traffic.arrived_load, 0.0)
        rate = _at_most(arrived / RATE_WINDOW_S, traffic.n_arrived, memory) * RATE_WINDOW_S
        memory.load_rate = keep * memory.load_rate + (1.0 - keep) * rate / elapsed
        if traffic.vouched_load is None:
            memory.vouched_rate = memory.load_rate
        else:
            vouched = min(max(traffic.vouched_load, 0.0) / elapsed, MAX_RATE)
            memory.vouched_rate = keep * memory.vouched_rate + (1.0 - keep) * vouched
        keep = math.exp(-elapsed / BURST_WINDOW_S)
        rate = _at_most(arrived / BURST_WINDOW_S, traffic.n_arrived, memory) * BURST_WINDOW_S
        memory.burst_rate = keep * memory.burst_rate + (1.0 - keep) * rate / elapsed
        keep = math.exp(-elapsed / REQUEST_RATE_WINDOW_S) if memory.request_rate > 0 else 0.0
        n_per_s = max(traffic.n_arrived, 0) / elapsed
        memory.request_rate = keep * memory.request_rate + (1.0 - keep) * n_per_s
        if memory.request_rate < 1.0 / REST_REQUESTS_S:
            memory.request_rate = 0.0
    if traffic.usual_load > 0:
        memory.mean_load = traffic.usual_load
    elif traffic.n_arrived > 0:
        memory.n_loads = min(memory.n_loads + traffic.n_arrived, MEAN_LOAD_WINDOW_N)
        weight = min(traffic.n_arrived / memory.n_loads, 1.0)
        mean = max(traffic.arrived_load, 0.0) / traffic.n_arrived
        memory.mean_load += weight * (mean - memory.mean_load)
    elif memory.mean_load <= 0 and snapshot.waiting.n > 0:
        memory.mean_load = max(snapshot.waiting.load, 0.0) / snapshot.waiting.n
