"""Whoever can route, against the owner's money: what requests of any stated cost rent."""

from __future__ import annotations

import random

from chalicelib.core.fleet.pacing import Verb
from fakes.worlds.world import REQUEST_COST, World
from tests.adversary.game import Action, Game, Script
from tests.faults.stories import run_rounds

ROUND_S = 15.0
N_WARM, N_AFTER = 12, 4


def _ask(dice: random.Random) -> Action:
    if dice.random() < 0.3:
        return ("wait", dice.choice([1, 2, 4]))
    return ("ask", dice.choice([1, 1, 2]), 10 ** dice.uniform(-4, 9))


def machines(script: Script, *, is_typical: bool) -> int:
    """Machines rented and started after the group has come to rest with its one worker."""
    world = World(seed=7)
    group = world.add_group(min_load=1.0, cold_workers=0, max_workers=12)
    world.ledger.set_caps({"caps_microusd_per_hour": 50_000_000})
    run_rounds(world, N_WARM)
    before = _started(world)
    for _, *rest in script:
        if len(rest) == 1:
            run_rounds(world, int(str(rest[0])), ROUND_S)
            continue
        n, cost = int(str(rest[0])), float(str(rest[1]))
        world.ask(group.endpoint_id, n, REQUEST_COST if is_typical else cost)
        run_rounds(world, 1, ROUND_S)
    run_rounds(world, N_AFTER, ROUND_S)
    return _started(world) - before


def _started(world: World) -> int:
    return sum(1 for call in world.market.calls if call.verb in (Verb.CREATE, Verb.START))


def rented_beyond(script: Script) -> float:
    """Machines beyond those of the same requests at their typical cost; one request: beyond one."""
    n_asked = sum(int(str(action[1])) for action in script if action[0] == "ask")
    stated = machines(script, is_typical=False)
    typical = machines(script, is_typical=True)
    return float(max(stated - typical, stated - 1) if n_asked == 1 else stated - typical)


GAMES = (
    Game(role="route key", goal="spend", measure="machines beyond those of typical requests",
         bound=0.0, draw=_ask, play=rented_beyond, length=8, where="a whole world of fakes"),
)  # fmt: skip
