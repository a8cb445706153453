"""Deeds: what a round really did, as the next decisions remember it. Pure.

A decision learns facts and states wishes. A wish that doubt, a freeze, shadow mode, a refusal or
lack of time left undone is not remembered: whoever carries wishes out tells here which ones were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from chalicelib.core.scaling.actions import Action, RebootWorker, RentOffer
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.reasons import ReasonCode

SCOUT = ReasonCode.SCOUT
"""The reason's code of a rental that looks for a better machine."""


def remember_deeds(
    memory: Mapping[str, object], done: Iterable[Action], now: float
) -> Mapping[str, object]:
    """A group's memory (plain JSON) once these actions of its plan were carried out."""
    state, is_changed = ScalingMemory.from_json(memory), False
    for action in done:
        if isinstance(action, RebootWorker):
            state.rebooted[str(action.instance_id)] = now
        elif isinstance(action, RentOffer):
            state.rented_at[str(action.autogroup_id)] = now
            if action.reason.code == SCOUT:
                state.scouted_at = now
        else:
            continue
        is_changed = True
    return state.to_json() if is_changed else memory
