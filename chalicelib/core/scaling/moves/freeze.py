"""What a freeze leaves of a plan: nothing but what the owner ordered. Pure.

Frozen, Ballast rents, starts, stops, reboots and destroys nothing, a cap's wind-down included. A
drain ends without a stop: the worker serves again, as it costs the same either way. What the owner
deletes still goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.actions import (
    Action,
    DestroyWorker,
    DrainWorker,
    RecallWorker,
    StopWorker,
)
from chalicelib.core.scaling.reasons import Reason, ReasonCode


def frozen_actions(
    wanted: Iterable[Action], workers: Sequence[Worker], deleted: Collection[int]
) -> list[Action]:
    """The actions that a freeze allows; `deleted`: ids of instances that the owner deletes."""
    kept: list[Action] = [
        action
        for action in wanted
        if isinstance(action, DrainWorker | StopWorker | DestroyWorker)
        and action.instance_id in deleted
    ]
    kept += [
        RecallWorker(instance_id=worker.instance_id, reason=Reason(code=ReasonCode.FROZEN))
        for worker in workers
        if worker.state is WorkerState.DRAINING and worker.instance_id not in deleted
    ]
    return kept
