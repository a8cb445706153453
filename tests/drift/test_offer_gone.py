"""The commonest refusal, as the real Vast words it: the next offer is taken, and clients served."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.adapters.vast.http import VastAnswer, VastRequest
from tests.drift.drifting_world import DriftingWorld
from tests.evidence.vast_records import Record, load_records
from tests.faults.stories import run_rounds

GONE = [record for record in load_records() if record.means == "offer_gone"]
MOST_CREATES = 3


@pytest.mark.parametrize("record", GONE, ids=lambda record: record.id)
def test_a_ghost_at_the_head_of_the_list_costs_one_try(record: Record) -> None:
    """The cheapest offer is listed and gone for an hour; three clients wait."""
    drifting = DriftingWorld()
    world = drifting.world
    ghosts: list[str] = []

    def create(request: VastRequest, act: Callable[[], VastAnswer]) -> VastAnswer:
        ghosts.append(request.url)
        if request.url == ghosts[0]:
            return VastAnswer(record.statuses[0], record.text, record.headers)
        return act()

    drifting.drift = {"create": create}
    group = world.add_group(cold_workers=0, max_workers=4)
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 60, every_s=60.0)
    assert world.n_served == 3
    assert world.n_waiting == 0
    assert len(ghosts) <= MOST_CREATES
    assert ghosts.count(ghosts[0]) == 1
    assert not drifting.told


def test_when_every_offer_is_a_ghost_tries_are_few_and_one_is_told() -> None:
    """A market in which nothing that is listed can be had."""
    record = next(record for record in GONE if record.id == "create-gone-400-live-2026-02")
    drifting = DriftingWorld()
    world = drifting.world
    drifting.drift = {"create": lambda _r, _a: VastAnswer(400, record.text)}
    group = world.add_group(cold_workers=0, max_workers=4)
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 240, every_s=15.0)
    assert drifting.told
    assert drifting.asked["create"] <= 120  # an hour; each of them another offer or a later time
    drifting.drift = {}
    run_rounds(world, 40, every_s=15.0)
    assert world.n_waiting == 0
