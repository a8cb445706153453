"""Frozen, whatever was under way: nothing is rented, started, stopped, rebooted or destroyed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from tests.faults.stories import in_state, params_of, run_rounds, set_group
from tests.services.test_plan import grown_world

DEEDS = (Verb.CREATE, Verb.START, Verb.STOP, Verb.DESTROY, Verb.REBOOT, Verb.BID)


@pytest.mark.parametrize("seed", [1, 2, 5, 6, 9, 10, 27, 36])
def test_a_freeze_amid_loads_and_drains_and_under_a_cap_does_nothing(seed: int) -> None:
    """Ten minutes of it, with requests and a cap that is passed; drains end without a stop."""
    dice = random.Random(seed)
    world, groups = grown_world(seed)
    world.ledger.set_flags(is_frozen=False)
    for group in groups:  # half of them grow, the others shrink
        params = params_of(world, group.endpoint_id)
        floor = dice.choice((0.0, 300.0))
        set_group(world, group.endpoint_id, params=replace(params, min_load=floor, cold_workers=0))
    run_rounds(world, dice.randrange(1, 4), every_s=5.0)
    world.ledger.set_flags(is_frozen=True)
    world.ledger.set_caps({"caps_microusd_per_hour": 10_000})
    n_before = len(list(world.market.calls))
    for _ in range(20):
        world.ask(dice.choice(groups).endpoint_id, dice.randrange(3))
        run_rounds(world, 1, every_s=30.0)
    later = list(world.market.calls)[n_before:]
    assert [(call.verb, call.detail) for call in later if call.verb in DEEDS] == []
    assert any(call.verb is Verb.LIST for call in later)
    assert not in_state(world, WorkerState.DRAINING)
