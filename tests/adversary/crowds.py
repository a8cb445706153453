"""A hostile holder of a shared key: tickets that it never uses, against who waits honestly.

No router knows which holder of the key will use his ticket, and a key with limits bounds what he
takes; this one has none. What keeps the others served is in `core.model.load.coming_load`, and
that `core.routing.view.least_queued` counts no load that never came.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from chalicelib.core.routing.admission import AdmissionParams
from tests.adversary.game import Action, Game, Script
from tests.services.router import Router
from tests.services.test_tenants import ENDS_AT_S, Town

LOAD = 0.5
TARGET_S = AdmissionParams().target_queue_time
BASELINE: list[float] = []


def _grab(dice: random.Random) -> Action:
    return (
        round(dice.uniform(0, ENDS_AT_S - 20.0), 1),
        dice.choice([1, 2, 5, 20]),
        dice.choice([1.0, 30.0, 300.0, 1e4, 1e9]),
        dice.choice([None, 0]),
    )


def on_time(script: Sequence[Action], seed: int = 3) -> float:
    """The honest requests that start in time, in points."""
    town = Town(seed)
    key = town.tenant("shared")
    town.send(key, LOAD, 0.0)
    hostile = Router(town.world)
    due = sorted(script, key=lambda action: float(str(action[0])))
    while town.world.clock.now() < town.began_at + ENDS_AT_S:
        since_s = town.world.clock.now() - town.began_at
        while due and float(str(due[0][0])) <= since_s:
            _, n, cost, idx = due.pop(0)
            for _ in range(int(str(n))):
                hostile.ask(None if idx is None else 0, float(str(cost)), key=key)
        town.step()
    callers = [c for c in town.crowd.callers if c.asked_at < town.began_at + ENDS_AT_S - 20]
    return 100 * sum(c.wait_s <= TARGET_S for c in callers) / len(callers)


def points_lost(script: Script) -> float:
    """Of the on-time share, against the same town without the hostile holder."""
    if not BASELINE:
        BASELINE.append(on_time(()))
    return BASELINE[0] - on_time(script)


GAMES = (
    Game(role="route key", goal="starve", measure="points of honest on-time share lost", bound=2.0,
         draw=_grab, play=points_lost, length=10),
)  # fmt: skip
