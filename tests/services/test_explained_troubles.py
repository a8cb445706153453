"""`explain` of what is broken now: the cause, and who mends it, whatever was decided before."""

from __future__ import annotations

import pytest

from chalicelib.ports.errors import NotFoundError
from chalicelib.services.keys import Caller
from chalicelib.services.owner.views.explanation import LAST, explain_round, explain_worker
from fakes.worlds.world import World
from tests.faults.stories import run_rounds, serving_world

OWNER = Caller(key_id="a-roa-1", verbs=frozenset({"read"}), endpoint_id=None, generation=1)
SAID = "answers fail: 500 CUDA error: device-side assert triggered"
MENDED = "rebooted once, then replaced within the caps"


def last(world: World) -> list[str]:
    sentences = explain_round(world.ports, OWNER, LAST, None)["sentences"]
    assert isinstance(sentences, list)
    return sentences


def test_half_of_the_workers_in_error_are_named_after_whatever_was_decided_before() -> None:
    world, _ = serving_world(2)
    assert not any("In the way now" in one for one in last(world))
    sick = min(world.processes)
    world.processes[sick].lie = {"max_perf": 0.0, "error_msg": SAID}
    run_rounds(world, 1)
    assert last(world)[-1] == f"In the way now: llm: 1 worker in error: {SAID}; each is {MENDED}."
    told = explain_worker(world.ports, OWNER, sick)["sentences"]
    assert isinstance(told, list)
    assert told[0].endswith(f"It reports: {SAID}. It is {MENDED}.")
    world.processes[sick].lie = {}
    run_rounds(world, 20)
    assert not any("In the way now" in one for one in last(world))


def test_a_template_that_was_deleted_is_named_where_nothing_could_be_decided() -> None:
    world = World(seed=2)
    run_rounds(world, 3)
    with pytest.raises(NotFoundError):
        last(world)
    group = world.add_group(cold_workers=0)
    world.market.templates.rows.clear()
    world.ask(group.endpoint_id, 3)
    run_rounds(world, 8)
    (said,) = last(world)
    assert "Vast knows no template" in said
    assert "give the autogroup the hash of one that exists" in said
