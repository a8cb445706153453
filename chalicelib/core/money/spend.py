"""What a group's machines cost, by worker: tallied round by round over a UTC day. Pure.

A tally is a flat mapping of numbers, kept in the scaler's memory and written as one item: sums over
the time since it began, so that writing it again changes nothing. A day has one tally for a group,
or some more if it had very many workers or the scaler lost its memory.

These are the likely dollars; what is counted against the caps (core/money/bookkeeping.py) is the
worst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import DAY_S
from chalicelib.core.money.bookkeeping import billed_seconds
from chalicelib.core.money.budget import BANDWIDTH_GB_PER_HOUR

Tally = Mapping[str, float]

_HOURLY = ("gpu_usd", "disk_usd", "bandwidth_usd")
PARTS = (*_HOURLY, "download_usd")
WRITE_EVERY_S = 3_600.0  # chosen: at most 24 writes a day
MAX_WORKERS = 1_000
"""In one tally; an item may hold 400 KB, and a worker takes up to 250 bytes of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSpend:
    """What one worker cost. `gpu_type`: '2x RTX 4090'; traffic and download are estimates."""

    instance_id: int
    autogroup_id: int
    gpu_type: str
    gpu_usd: float = 0.0
    disk_usd: float = 0.0
    bandwidth_usd: float = 0.0  # traffic while it ran
    download_usd: float = 0.0  # of image and model
    n_unknown_downloads: int = 0  # 1: it came up, and nobody knows how much it had downloaded

    @property
    def total_usd(self) -> float:
        """All parts."""
        return self.gpu_usd + self.disk_usd + self.bandwidth_usd + self.download_usd


def spans_by_day(since: float, now: float) -> Iterator[tuple[float, float]]:
    """The time since `since` cut at every UTC midnight."""
    while since < now:
        until = min(now, (since // DAY_S + 1) * DAY_S)
        yield since, until
        since = until


def begins_anew(tally: Tally, at: float) -> bool:
    """Whether what is spent from `at` on belongs into a new tally: another day, or it is full."""
    begun_at = tally["begun_at"]
    is_full = sum(name.startswith("gpu_usd:") for name in tally) >= MAX_WORKERS
    return begun_at // DAY_S < at // DAY_S or (is_full and begun_at // 60 < at // 60)


def add_span(
    tally: Tally,
    span: tuple[float, float],
    workers: Sequence[Worker],
    records: Mapping[int, InstanceRecord],
) -> Tally:
    """The tally with what the workers cost within a span of time.

    Two parts are estimates, at the prices of a worker's record: traffic, `BANDWIDTH_GB_PER_HOUR`
    each way while its GPU is billed; and the download of image and model, the disk it used when it
    first came up, told once.
    """
    since, until = span
    sums = {"begun_at": since, "written_at": 0.0, **tally, "until": until}
    n_ready, billed_s = 0, 0.0
    for worker in workers:
        running_s, stopped_s = _billed(worker, since, until)
        record = records.get(worker.instance_id)
        traffic = record.inet_up_usd_per_gb + record.inet_down_usd_per_gb if record else 0.0
        disk = worker.storage_usd_per_hour
        usd = (
            max(0.0, worker.usd_per_hour - disk) * running_s,
            disk * (running_s + stopped_s),
            BANDWIDTH_GB_PER_HOUR * traffic * running_s,
        )
        key = f"{worker.instance_id}:{worker.autogroup_id}:{worker.gpu_type}"
        for part, amount in zip(_HOURLY, usd, strict=True):
            sums[f"{part}:{key}"] = sums.get(f"{part}:{key}", 0.0) + amount / 3600
        if worker.loaded_at >= sums["begun_at"] and f"download_usd:{key}" not in sums:
            download_usd = _download_usd(worker, record)
            name = "unknown_download" if download_usd is None else "download_usd"
            sums[f"{name}:{key}"] = 1.0 if download_usd is None else download_usd
        n_ready += worker.state is WorkerState.READY
        billed_s += running_s
        if worker.is_bid:
            _add_bid(sums, worker, running_s, span)
    counted = {
        "worker_s": billed_s,
        "active_s": until - since if billed_s else 0.0,
        "ready_s": n_ready * (until - since),
    }
    added = {name: sums.get(name, 0.0) + value for name, value in counted.items()}
    return {**sums, **added, "max_ready": max(sums.get("max_ready", 0.0), float(n_ready))}


BIDS = ("bid_usd", "bid_saved_usd", "bid_n_taken", "bid_n_cut")
"""Of interruptible machines: GPU dollars, what they would have cost more on demand, how often they
were taken away, and how many requests that cut as far as their last reports say."""


def _add_bid(
    sums: dict[str, float], worker: Worker, running_s: float, span: tuple[float, float]
) -> None:
    gpu_usd = max(0.0, worker.usd_per_hour - worker.storage_usd_per_hour)
    saved = max(0.0, worker.on_demand_usd_per_hour - worker.usd_per_hour)
    is_taken = worker.state is WorkerState.PAUSED and span[0] < worker.state_since <= span[1]
    added = (
        gpu_usd * running_s / 3600,
        saved * running_s / 3600,
        float(is_taken),
        float(worker.n_cut * is_taken),
    )
    for name, amount in zip(BIDS, added, strict=True):
        sums[name] = sums.get(name, 0.0) + amount


def is_due(tally: Tally, now: float, *, is_over: bool) -> bool:
    """Whether a tally should be written: each hour in which it grew, and at its end."""
    waited_s = now - max(tally["written_at"], tally["begun_at"])
    return tally["until"] > tally["written_at"] and (is_over or waited_s >= WRITE_EVERY_S)


def workers_of(tally: Tally) -> Iterator[WorkerSpend]:
    """What each worker of a tally cost."""
    for name, gpu_usd in tally.items():
        part, _, key = name.partition(":")
        if part != "gpu_usd":
            continue
        instance_id, autogroup_id, gpu_type = key.split(":", 2)
        yield WorkerSpend(
            instance_id=int(instance_id),
            autogroup_id=int(autogroup_id),
            gpu_type=gpu_type,
            gpu_usd=gpu_usd,
            disk_usd=tally.get(f"disk_usd:{key}", 0.0),
            bandwidth_usd=tally.get(f"bandwidth_usd:{key}", 0.0),
            download_usd=tally.get(f"download_usd:{key}", 0.0),
            n_unknown_downloads=int(
                f"unknown_download:{key}" in tally and f"download_usd:{key}" not in tally
            ),
        )


def total_usd(tallies: Iterable[Tally]) -> float:
    """Dollars of some tallies."""
    return sum(one.total_usd for tally in tallies for one in workers_of(tally))


def spent_today_usd(tally: Tally, now: float) -> float:
    """What a group's tally holds of the UTC day of `now`."""
    return total_usd([tally]) if tally["begun_at"] // DAY_S == now // DAY_S else 0.0


def _download_usd(worker: Worker, record: InstanceRecord | None) -> float | None:
    """What a worker downloaded until it came up; None while its price or its disk is unknown.

    Used disk stands for image and model, whose sizes no offer and no template tells.
    """
    if record is None or worker.disk_usage_gb <= 0:
        return None
    return min(worker.disk_usage_gb, record.disk_space_gb) * record.inet_down_usd_per_gb


def _billed(worker: Worker, since: float, until: float) -> tuple[float, float]:
    if worker.state.is_gpu_billed or worker.at_rest_since is not None:
        return billed_seconds(worker, since, until)
    return 0.0, max(0.0, until - max(since, worker.created_at))


DELETED_SCOPE = "deleted_groups"


def spend_scope(endpoint_id: int) -> str:
    """Of a group's tallies among the series."""
    return f"spend:{endpoint_id}"
