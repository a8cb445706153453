"""Winding down at a cap: what must stop so that the cap is kept, dearest first. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chalicelib.core.scaling.actions import (
    Action,
    DestroyWorker,
    DrainWorker,
    Reason,
    RecallWorker,
    RentOffer,
    StartWorker,
    StopWorker,
)
from chalicelib.core.money.budget import MICRO
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState

DRAIN_DEADLINE_S = 300.0  # well within budget.RUNWAY_S
_SERVES = frozenset({WorkerState.READY, WorkerState.SUSPECT, WorkerState.DRAINING})
_NOT_WORTH_KEEPING = frozenset(
    {
        WorkerState.CREATING,
        WorkerState.LOADING,
        WorkerState.MODEL_LOADING,
        WorkerState.UNAVAILABLE,  # may come up by itself at any time, and then bills
    }
)
_AT_REST = frozenset({WorkerState.STOPPED, WorkerState.STOPPING, WorkerState.DESTROYING})


def wind_down(
    workers: Iterable[Worker], cap: str, over_microusd_per_hour: int | None
) -> list[Action]:
    """Actions that bring a group below a cap.

    `over_microusd_per_hour`: how much too much is committed (hourly caps); None: everything that
    bills a GPU must stop (the day's or month's money is spent).
    """
    actions: list[Action] = []
    saved = 0.0
    running = [worker for worker in workers if worker.state not in _AT_REST]
    for worker in sorted(running, key=lambda w: (-w.usd_per_hour, w.instance_id)):
        if over_microusd_per_hour is not None and saved * MICRO >= over_microusd_per_hour:
            break
        saved += worker.usd_per_hour - worker.storage_usd_per_hour
        action = _end(worker, Reason(code="cap_reached", facts={"cap": cap}))
        if action is not None:
            actions.append(action)
    return actions


def without_spending(actions: Sequence[Action]) -> list[Action]:
    """The actions that add no cost."""
    return [a for a in actions if not isinstance(a, RentOffer | StartWorker | RecallWorker)]


def _end(worker: Worker, reason: Reason) -> Action | None:
    if worker.state in _NOT_WORTH_KEEPING:
        return DestroyWorker(instance_id=worker.instance_id, reason=reason)
    if worker.state not in _SERVES:
        return StopWorker(instance_id=worker.instance_id, reason=reason)
    if worker.state is WorkerState.DRAINING and worker.drain_by is not None:
        return None  # ends by itself, within its deadline
    return DrainWorker(
        instance_id=worker.instance_id,
        then=AfterDrain.STOP,
        deadline_s=DRAIN_DEADLINE_S,
        reason=reason,
    )
