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
    remembered = [action for action in done if isinstance(action, RebootWorker | RentOffer)]
    if not remembered:
        return memory
    state = ScalingMemory.from_json(memory)
    for action in remembered:
        if isinstance(action, RebootWorker):
            state.rebooted[str(action.instance_id)] = now
        else:
            state.rented_at[str(action.autogroup_id)] = now
            if action.reason.code == SCOUT:
                state.scouted_at = now
    return state.to_json()
