"""Orders that Vast did not take, and then a freeze: nothing waits in a state that never comes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chalicelib.core.fleet.pacing import Verb
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from chalicelib.ports.marketplace import (
    MarketplaceError,
    MarketplaceUnavailableError,
    RateLimitedError,
)
from chalicelib.services.rounds.loop import scaling_loop
from fakes.market.market_config import PROMPT
from fakes.worlds.world import PROMPT_MARKET
from tests.stories.day import Day

READY, STOPPED = WorkerState.READY, WorkerState.STOPPED
NOT_TAKEN = [RateLimitedError("start: too early", 9.0), MarketplaceUnavailableError("502")]


def learned(day: Day) -> ScalingMemory:
    """What the scaler learned of the only group."""
    memory = RoundMemory.from_bytes(day.world.ledger.read_blob(BLOB_NAME) or b"{}")
    (group,) = memory.groups.values()
    return ScalingMemory.from_json(group)


@pytest.mark.parametrize("error", NOT_TAKEN)
def test_a_start_that_was_never_made_is_no_start_through_a_freeze(error: MarketplaceError) -> None:
    day = Day()
    group = day.group(max_workers=2, cold_workers=1)
    day.minutes(6, 2, of=group, rounds=6)
    day.minutes(40)
    assert day.n(STOPPED) == 1
    day.world.marketplace.fail_next(Verb.START, error)
    day.world.ask(group.endpoint_id, 2)
    scaling_loop(day.world.ports, deadline_at=day.world.now + 1)
    day.freeze()
    day.minutes(2, rounds=2)
    assert day.n(STOPPED) == 1, "what nobody started is stopped, and told so"
    assert set(day.troubles()) == {"frozen"}
    day.minutes(30)
    day.freeze(frozen=False)
    day.minutes(2, rounds=12)
    assert day.world.n_waiting == 0
    assert learned(day).starts[1] == 0, "the machine is not blamed for an order it never got"


@pytest.mark.parametrize("error", NOT_TAKEN)
def test_a_stop_that_was_never_made_leaves_a_worker_that_serves_through_a_freeze(
    error: MarketplaceError,
) -> None:
    day = Day()
    group = day.group(max_workers=1, cold_workers=1)
    day.minutes(6, 2, of=group, rounds=6)
    day.world.marketplace.fail_next(Verb.STOP, error, times=1000)
    for _ in range(40 * 4):
        day.minutes(1)
        if day.n(WorkerState.STOPPING):
            break
    assert day.n(WorkerState.STOPPING) == 1
    day.freeze()
    day.minutes(2, rounds=4)
    assert day.n(READY) == 1, "it runs and is paid, so it serves"
    day.minutes(5, 1, of=group, rounds=2)
    assert day.world.n_waiting == 0
    assert day.running() == 1


def test_starts_that_an_owner_calls_off_are_not_the_machines_fault() -> None:
    slow = replace(PROMPT_MARKET, timings=replace(PROMPT, restart_median_s=40.0))
    day = Day(config=slow)
    group = day.group(max_workers=1, cold_workers=1)
    day.minutes(6, 2, of=group, rounds=6)
    day.minutes(40)
    (machine,) = day.world.market.instances
    for _ in range(4):  # at the third failed start a machine is returned
        day.world.ask(group.endpoint_id, 1)
        day.seconds(5)
        assert day.n(WorkerState.STARTING) == 1
        day.set_state(group, "suspended")
        day.world.clients.leave()
        day.minutes(1, rounds=6)
        assert day.n(STOPPED) == 1
        day.minutes(10)
        day.set_state(group, "active")
        day.minutes(6)
        assert day.n(STOPPED) == 1
    day.world.ask(group.endpoint_id, 1)
    day.minutes(2, rounds=12)
    assert day.world.n_waiting == 0
    assert list(day.world.market.instances) == [machine], "nothing was returned, nothing rented"
