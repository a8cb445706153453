"""How far an autogroup's first look at machine types is, as owners read it."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.orders import loads_needed
from chalicelib.core.scaling.round_memory import RoundMemory


def exploration_row(
    autogroup: Autogroup, workers: Iterable[Worker], memory: RoundMemory
) -> dict[str, object]:
    """Phase, and how many of the tests have loaded; it ends once half of them have.

    `workers`: of the autogroup's group or of the autogroup alone; `memory`: of the last round.
    """
    of_group = ScalingMemory.from_json(memory.groups.get(str(autogroup.endpoint_id), {}))
    ended_at = of_group.explored.get(str(autogroup.autogroup_id))
    is_active = autogroup.state is AutogroupState.ACTIVE
    is_on = ended_at is None and autogroup.test_workers > 0 and is_active
    loaded = [w for w in workers if w.autogroup_id == autogroup.autogroup_id and w.loaded_at > 0]
    return {
        "phase": "exploring" if is_on else "over" if ended_at else "off",
        "n_loaded": len(loaded),
        "n_needed": loads_needed(autogroup.test_workers),
        "ended_at": ended_at,
    }
