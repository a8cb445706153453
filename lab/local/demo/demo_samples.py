"""What the demo looks at every second: workers, capacity, queue, money."""

from __future__ import annotations

import collections
import time
from dataclasses import dataclass
from typing import Any

from lab.local.demo.demo_replay import Replay, Tally
from lab.local.system.owner import MarketView, Owner, patiently

LOAD_WINDOW = 5  # samples over which arriving load is averaged
PATIENCE_S = 120.0  # with a machine that is too busy to answer
COLD_STATUSES = frozenset({"stopped", "stopping"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One look. Loads in tokens per second."""

    at_s: float  # since the recorder was made
    n_by_status: dict[str, int]
    load: float  # arriving
    ready_capacity: float
    cold_capacity: float
    n_waiting: int
    n_ready: int
    n_gpus: int  # running, so paid in full
    usd_per_hour: float  # of all, stopped ones' disks included
    total_usd: float  # so far, by the market's own bill


class Recorder:
    """Takes samples of one group."""

    def __init__(self, owner: Owner, market: MarketView, endpoint_id: int) -> None:
        self._owner = owner
        self._market = market
        self._endpoint_id = endpoint_id
        self._started_at = time.monotonic()
        self._instance_ids: set[str] = set()
        self._arrived: collections.deque[tuple[float, float]] = collections.deque(
            [(0.0, 0.0)], maxlen=LOAD_WINDOW
        )
        self.samples: list[Sample] = []

    def sample(self, replay: Replay | None = None) -> Sample:
        """Look now, and remember."""
        rows = patiently(lambda: self._owner.workers(self._endpoint_id), PATIENCE_S)
        self._instance_ids.update(str(row["id"]) for row in rows)
        at_s = time.monotonic() - self._started_at
        tally = replay.tally() if replay else Tally()
        ready = [row for row in rows if row["status"] == "idle"]
        cold = [row for row in rows if row["status"] in COLD_STATUSES]
        running = [row for row in rows if row not in cold]
        sample = Sample(
            at_s=at_s,
            n_by_status=dict(collections.Counter(str(row["status"]) for row in rows)),
            load=self._load(at_s, tally.arrived_load),
            ready_capacity=_sum(ready, "measured_perf"),
            cold_capacity=_sum(cold, "measured_perf"),
            n_waiting=tally.n_waiting,
            n_ready=len(ready),
            n_gpus=len(running),
            usd_per_hour=_sum(running, "usd_per_hour") + _sum(cold, "storage_usd_per_hour"),
            total_usd=self._billed(),
        )
        self.samples.append(sample)
        return sample

    def _load(self, at_s: float, arrived: float) -> float:
        """Tokens asked for per second, over the last few samples."""
        first_at_s, first_arrived = self._arrived[0]
        self._arrived.append((at_s, arrived))
        return (arrived - first_arrived) / max(at_s - first_at_s, 1e-3)

    def _billed(self) -> float:
        """What the market charged for the group's instances, returned ones included."""
        bill = patiently(self._market.bill, PATIENCE_S)
        contracts: dict[str, dict[str, float]] = bill["by_instance"]
        ours = [contracts[key] for key in self._instance_ids if key in contracts]
        return sum(contract["gpu_usd"] + contract["storage_usd"] for contract in ours)


def _sum(rows: list[dict[str, Any]], key: str) -> float:
    return sum(float(row.get(key) or 0.0) for row in rows)
