"""The last barrier before the executor: what doubt and brakes keep from a plan, however decided."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.inventory import doubted
from chalicelib.core.fleet.pacing import Pacing
from chalicelib.core.model.market import Offer
from chalicelib.core.scaling.actions import (
    Action,
    DestroyWorker,
    RebootWorker,
    RentOffer,
    StopWorker,
)
from chalicelib.core.scaling.reasons import Reason, ReasonCode
from chalicelib.services.market.paced_market import PacedMarket
from chalicelib.services.rounds.group_planning import allowed_actions
from chalicelib.services.rounds.round import plan_round
from tests.faults.stories import serving_world, take_lease

WHY = Reason(code=ReasonCode.HOT_SHORT)
OFFER = Offer(
    offer_id=1,
    machine_id=1,
    host_id=1,
    gpu_name="RTX 4090",
    num_gpus=1,
    gpu_ram_gb=24.0,
    usd_per_hour=0.5,
    storage_usd_per_hour=0.01,
    dlperf=100.0,
)


@pytest.mark.parametrize("brake", ["none", "doubt", "group frozen", "account frozen"])
def test_under_doubt_or_a_freeze_nothing_is_rented_rebooted_or_destroyed(brake: str) -> None:
    """The decision knows both by itself; this holds if it forgets."""
    world, _ = serving_world(1)
    _, account = take_lease(world)
    market = PacedMarket(world.marketplace, world.clock, Pacing({}), waits_until=world.now)
    plan = plan_round(world.ports, market, account, world.now)
    view, group, worker = plan.view, plan.view.groups[0], plan.workers[0]
    if brake == "doubt":
        view = replace(view, inventory=doubted(view.inventory, "a short page", world.now))
    elif brake == "group frozen":
        group = replace(group, frozen=True)
    elif brake == "account frozen":
        view = replace(view, account=replace(view.account, is_frozen=True))
    stop = StopWorker(instance_id=worker.instance_id, reason=WHY)
    decided: list[Action] = [
        RentOffer(autogroup_id=worker.autogroup_id, offer=OFFER, reason=WHY),
        RebootWorker(instance_id=worker.instance_id, reason=WHY),
        DestroyWorker(instance_id=worker.instance_id, reason=WHY),
        stop,
    ]
    kept = allowed_actions(decided, [worker], view, group)
    allowed = {"none": decided, "doubt": [stop]}
    assert kept == allowed.get(brake, []), "frozen, not even a stop"


def test_no_action_touches_a_machine_of_another_group() -> None:
    world, _ = serving_world(1)
    _, account = take_lease(world)
    market = PacedMarket(world.marketplace, world.clock, Pacing({}), waits_until=world.now)
    plan = plan_round(world.ports, market, account, world.now)
    strange = StopWorker(instance_id=1, reason=WHY)
    assert allowed_actions([strange], plan.workers, plan.view, plan.view.groups[0]) == []
