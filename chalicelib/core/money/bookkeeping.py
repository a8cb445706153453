"""Bookkeeping: what the machines in our rows cost, and may cost, in whole micro-dollars. Pure.

Doubt counts against us: a machine is billed as running until the marketplace showed it stopped, and
until it is confirmed absent; a rental that may have happened is billed as if it had.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.fleet.intents import RentIntent
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import RoundBooking
from chalicelib.core.money.budget import BANDWIDTH_GB_PER_HOUR, running_microusd_per_hour, to_micro


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one row may cost per hour: as it is, and once it is stopped."""

    worst_microusd_per_hour: int
    storage_microusd_per_hour: int


def cost_of(worker: Worker, record: InstanceRecord | None) -> Cost:
    """What a row may cost. An outbid machine comes back by itself: committed as running."""
    running, stopped = _running_and_stopped(worker, record)
    may_run = worker.at_rest_since is None or worker.state is WorkerState.PAUSED
    return Cost(
        worst_microusd_per_hour=running if may_run else stopped,
        storage_microusd_per_hour=stopped,
    )


def start_microusd_per_hour(worker: Worker, record: InstanceRecord | None) -> int:
    """What starting a worker adds to the commitments: nothing of one that was outbid.

    The books hold it as running already, since it comes back by itself.
    """
    if worker.state is WorkerState.PAUSED:
        return 0
    running, stopped = _running_and_stopped(worker, record)
    return running - stopped


def rise_microusd_per_hour(worker: Worker, bid_usd_per_hour: float) -> int:
    """What a new bid adds: the books hold an outbid machine as running already."""
    return to_micro(max(bid_usd_per_hour - worker.bid_usd_per_hour, 0.0))


def _running_and_stopped(worker: Worker, record: InstanceRecord | None) -> tuple[int, int]:
    """The higher of what the row and the record say; bandwidth only where the record prices it."""
    usd, storage = worker.usd_per_hour, worker.storage_usd_per_hour
    running = running_microusd_per_hour(usd)
    if record is not None:
        usd, storage = max(usd, record.usd_per_hour), max(storage, record.storage_usd_per_hour)
        up, down = record.inet_up_usd_per_gb, record.inet_down_usd_per_gb
        running = running_microusd_per_hour(usd, up, down)
    stopped = to_micro(storage)
    return max(stopped, running), stopped


def book(
    workers: Sequence[Worker],
    intents: Iterable[RentIntent],
    records: Mapping[int, InstanceRecord],
    *,
    booked_at: float,
    now: float,
    is_known: bool,
) -> RoundBooking:
    """The books of a round: spend since `booked_at`, and the commitments if inventory is known."""
    spent: dict[int, int] = defaultdict(int)
    committed: dict[int, int] = defaultdict(int)
    storage: dict[int, int] = defaultdict(int)
    n_workers: dict[int, int] = defaultdict(int)
    idle = 0
    for worker in workers:
        cost = cost_of(worker, records.get(worker.instance_id))
        committed[worker.endpoint_id] += cost.worst_microusd_per_hour
        storage[worker.endpoint_id] += cost.storage_microusd_per_hour
        n_workers[worker.endpoint_id] += 1
        amount = _spent_microusd(worker, records.get(worker.instance_id), booked_at, now)
        spent[worker.endpoint_id] += amount
        if not worker.state.is_answering and worker.at_rest_since is None:
            idle += amount
    for intent in intents:
        if not intent.is_open:
            continue
        committed[intent.endpoint_id] += intent.reserved_microusd_per_hour
        n_workers[intent.endpoint_id] += 1
        hours = max(0.0, now - max(booked_at, intent.planned_at)) / 3600
        amount = to_micro(intent.usd_per_hour * hours)
        spent[intent.endpoint_id] += amount
        idle += amount
    return RoundBooking(
        booked_until=now,
        spent_by_group={key: amount for key, amount in spent.items() if amount},
        idle_microusd=idle,
        committed_by_group=dict(committed) if is_known else None,
        storage_by_group=dict(storage),
        workers_by_group=dict(n_workers),
    )


def billed_seconds(worker: Worker, since: float, until: float) -> tuple[float, float]:
    """How long a machine ran, and how long it was stopped, within a span of time."""
    whole_s = max(0.0, until - max(since, worker.created_at))
    if worker.at_rest_since is None:
        return whole_s, 0.0
    running_s = min(max(0.0, worker.at_rest_since - max(since, worker.created_at)), whole_s)
    return running_s, whole_s - running_s


def _spent_microusd(
    worker: Worker, record: InstanceRecord | None, booked_at: float, now: float
) -> int:
    """Traffic as it is committed by the hour: what is counted is no less than what is likely."""
    running_s, stopped_s = billed_seconds(worker, booked_at, now)
    per_gb = record.inet_up_usd_per_gb + record.inet_down_usd_per_gb if record else 0.0
    running = worker.usd_per_hour + BANDWIDTH_GB_PER_HOUR * per_gb
    usd = running * running_s + worker.storage_usd_per_hour * stopped_s
    return to_micro(usd / 3600)
