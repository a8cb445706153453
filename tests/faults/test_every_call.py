"""Whatever call that leaves the process fails or kills it: nothing is lost, nothing is doubled.

The harness counts the calls of each scenario by itself (`pytest -rP` prints how many) and breaks
each of them in four ways, with the real services and executor, in virtual time. Where the broken
round leaves the same world as another one did (a read that failed here or there), the future is the
same and is not played again.
"""

from __future__ import annotations

import itertools
import os
import pickle
import random
from collections.abc import Callable

import pytest

from chalicelib.core.fleet.intents import split_label
from fakes.bundles.faulty_ports import Break, Mode
from tests.faults.scenarios import (
    CLEAN_ROUNDS,
    MAX_WORKERS,
    SCENARIOS,
    AlreadyToldError,
    Scenario,
    Story,
)

SEED = int(os.environ.get("BALLAST_BREAKS_SEED", "1"))
N_SAMPLED = 16


def play(scenario: Scenario, story: Story, breaks: Break | None) -> Story:
    """Tell the story with a call broken; then somebody asks, and clean rounds follow."""
    story.break_at(breaks)
    scenario.story(story)
    story.calls.breaks = None
    if scenario.goes_on:
        story.ask(1)
    story.rounds(CLEAN_ROUNDS, every_s=60.0)
    return story


def check(story: Story, scenario: Scenario) -> None:
    """What must hold after any single failure and five clean rounds."""
    world = story.world
    rows = {row.instance_id for row in world.workers.rows.values()}
    assert story.our_machines() == rows, "machines at the market = machines in our tables"
    assert len(rows) <= MAX_WORKERS
    assert story.foreign in world.market.instances, "nothing that is not ours is touched"
    assert all(str(story.foreign) not in call.detail.split() for call in world.market.calls)
    labels = {world.market.instances[id_].label for id_ in rows}
    assert len(labels) == len(rows), "no intent rented twice"
    assert all(split_label(label) for label in labels)
    foreign_usd_per_hour = world.market.instances[story.foreign].rate.total
    peak = world.market.bill(world.now).peak_usd_per_hour - foreign_usd_per_hour
    assert peak <= story.cap_usd_per_hour, "the market's own bill keeps the cap"
    assert not any(intent.is_open for intent in world.ledger.intents())
    if not scenario.goes_on:
        assert rows == set()
        return
    assert world.n_waiting == 0, "demand is served again"
    story.ask(1)
    story.rounds(CLEAN_ROUNDS, every_s=15.0)
    assert world.n_waiting == 0, "and so is what comes later"


@pytest.mark.parametrize("name", SCENARIOS)
def test_broken_calls_of_every_scenario_are_survived(name: str) -> None:
    """A few of each scenario's calls, spread by a seed; the long tests break every one."""
    dice = random.Random(f"{SEED} {name}")
    n_calls, known = break_calls(
        name, lambda breaks: dice.sample(breaks, min(N_SAMPLED, len(breaks)))
    )
    print(f"{name}: {N_SAMPLED} breaks of {n_calls} calls: {len(known)} futures; seed {SEED}")  # noqa: T201
    assert known


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_broken_call_is_survived(name: str) -> None:
    n_calls, known = break_calls(name, lambda breaks: breaks)
    print(f"{name}: {n_calls} calls, each broken in {len(Mode)} ways: {len(known)} futures")  # noqa: T201
    assert len(known) > n_calls / 4, "each round has many ways to end"


def break_calls(
    name: str, choose: Callable[[list[Break]], list[Break]]
) -> tuple[int, set[tuple[int, str]]]:
    """(how many calls the scenario makes, the futures that were played) with these breaks."""
    scenario = SCENARIOS[name]
    story = Story()
    scenario.setup(story)
    beginning = pickle.dumps(story)
    unbroken = _told_again(beginning, set())
    unbroken.break_at(None)
    scenario.story(unbroken)
    calls = unbroken.calls.names
    assert scenario.makes <= {call.partition(".")[2] for call in calls}
    check(play(scenario, story, None), scenario)
    known: set[tuple[int, str]] = set()
    every = [Break(index, mode) for index, mode in itertools.product(range(len(calls)), Mode)]
    for breaks in choose(every):
        try:
            check(play(scenario, _told_again(beginning, known), breaks), scenario)
        except AlreadyToldError:
            continue
        except Exception as error:
            error.add_note(f"{name}: call {breaks.at_call} {calls[breaks.at_call]} {breaks.mode}")
            raise
    return len(calls), known


def _told_again(beginning: bytes, known: set[tuple[int, str]]) -> Story:
    story: Story = pickle.loads(beginning)  # noqa: S301  our own bytes
    story.known = known
    return story
