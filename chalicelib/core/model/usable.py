"""Usable: the one definition of a worker that can serve, asked by router, scaler and status. Pure.

Ready is not usable: a worker that reports from behind a NAT is ready, and nobody can reach it.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from chalicelib.core.model.lifecycle import silent_workers
from chalicelib.core.model.worker import Worker, WorkerState

USABLE_GRACE_S = 120.0
"""Ready without being usable for longer than this is a failed boot: Vast's listing, asked every few
seconds, had time to show the address."""


class Unusable(StrEnum):
    """Why a worker cannot be given requests."""

    NOT_READY = "not_ready"
    UNMEASURED = "unmeasured"
    NO_ADDRESS = "no_address"
    SILENT = "silent"


def why_unusable(worker: Worker, *, is_silent: bool = False) -> Unusable | None:
    """What keeps a worker from serving; None if it is usable.

    `is_silent`: its last report is too old, and that is not our own trouble (`silent_workers`).
    """
    if worker.state is not WorkerState.READY:
        return Unusable.NOT_READY
    if worker.perf <= 0:
        return Unusable.UNMEASURED
    if not worker.url:
        return Unusable.NO_ADDRESS
    return Unusable.SILENT if is_silent else None


def usable_workers(rows: Iterable[Worker], now: float) -> list[Worker]:
    """The workers of one group that can be given requests now."""
    rows = list(rows)
    silent = silent_workers(rows, now)
    return [
        worker
        for worker in rows
        if why_unusable(worker, is_silent=worker.instance_id in silent) is None
    ]
