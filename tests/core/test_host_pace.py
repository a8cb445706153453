"""What a host's past says of its next load: little after one, much after some, never all."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.learning import (
    FASTEST_HOST,
    HOST_FADES_S,
    MAX_HOSTS,
    SLOWEST_HOST,
    Beliefs,
    learn,
)
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.offers import RatedOffer, rate_offers
from chalicelib.core.scaling.moves.pools import Round
from chalicelib.core.scaling.snapshot import Waiting
from tests.core.test_scaling import NOW, make_offer, make_snapshot, make_worker

GROUP = Autogroup(autogroup_id=1, endpoint_id=1, created_at=0.0)
USUAL_S = 300.0


def knowing(usual_s: float = USUAL_S) -> ScalingMemory:
    """A group that has seen loads of other hosts, whose names nobody knew."""
    memory = ScalingMemory(at=1.0)
    memory.load_times["1"] = [30.0, math.log(usual_s), 1.0]
    return memory


def load(memory: ScalingMemory, host_id: int, seconds: float, *, predicted_s: float = 0.0) -> None:
    """One first load on a host, from its rental to the report that it is ready."""
    begun = memory.at + 10.0
    number = int(begun * 10)
    loading = replace(
        make_worker(number, WorkerState.LOADING),
        autogroup_id=1,
        created_at=begun,
        loaded_at=0.0,
        load_s=predicted_s,
        host_id=host_id,
    )
    ready = replace(loading, state=WorkerState.READY, loaded_at=begun + seconds, load_s=0.0)
    for worker, now in ((loading, begun + 0.5), (ready, begun + seconds + 0.5)):
        learn(memory, make_snapshot(workers=(worker,)), now)
        memory.at = now


def pace(memory: ScalingMemory, host_id: int = 7) -> float:
    return Beliefs(memory).host_pace(host_id)


def test_of_an_unknown_host_nothing_is_believed() -> None:
    assert pace(knowing()) == 1.0
    memory = knowing()
    load(memory, 0, 10 * USUAL_S)
    assert pace(memory, 0) == 1.0
    assert memory.host_loads == {}


def test_the_first_loads_of_an_autogroup_say_how_it_loads_not_how_their_hosts_do() -> None:
    memory = ScalingMemory(at=1.0)
    for _ in range(3):
        load(memory, 7, 60.0)
    assert memory.host_loads == {}


@pytest.mark.parametrize("true_pace", [0.7, 1.0, 1.5, 2.0])
def test_a_hosts_pace_is_learned_from_its_loads(true_pace: float) -> None:
    memory = knowing()
    for _ in range(8):
        for other in (8, 9, 10):
            load(memory, other, USUAL_S)  # others load as before meanwhile
        load(memory, 7, true_pace * USUAL_S)
    # The prior is worth two loads, and a quarter of the usual loads are its own.
    assert pace(memory) == pytest.approx(true_pace, rel=0.2)
    assert abs(pace(memory) - 1) >= 0.65 * abs(true_pace - 1)
    assert pace(memory, 8) == pytest.approx(1.0, abs=0.12)


def test_what_the_line_explains_is_not_the_hosts_fault() -> None:
    """A load that was predicted to take three times as long, and does."""
    memory = knowing()
    for _ in range(6):
        median_s = Beliefs(memory).load_time(1).median
        load(memory, 7, 3 * median_s, predicted_s=3 * median_s)
    assert pace(memory) == pytest.approx(1.0, abs=0.02)


def test_a_prediction_that_holds_the_hosts_pace_already_confirms_it() -> None:
    memory = knowing()
    memory.host_loads["7"] = [8.0, math.log(2.0)]
    believed = pace(memory)
    for _ in range(6):
        median_s = Beliefs(memory).load_time(1).median
        load(memory, 7, 2 * median_s, predicted_s=pace(memory) * median_s)
    assert pace(memory) == pytest.approx(believed, rel=0.05)
    assert Beliefs(memory).load_time(1).median == pytest.approx(USUAL_S, rel=0.1)


def test_one_bad_load_moves_little_and_good_ones_take_it_back() -> None:
    memory = knowing()
    load(memory, 7, 50 * USUAL_S)
    assert pace(memory) == pytest.approx(3 ** (1 / 3), rel=0.01)
    for _ in range(3):
        load(memory, 7, USUAL_S)
    assert pace(memory) < 1.25


def test_who_says_at_once_that_it_is_ready_gains_no_more_than_a_fast_host() -> None:
    """One liar among five hosts, with as many loads as each of them."""
    memory = knowing()
    for _ in range(30):
        for honest in (8, 9, 10, 11):
            load(memory, honest, USUAL_S)
        load(memory, 7, 1.0)
    assert pace(memory) == FASTEST_HOST
    assert Beliefs(memory).load_time(1).median > 0.7 * USUAL_S
    assert pace(memory, 8) < 1.4
    # Twice as dear per unit of load it loses to an honest host, also while clients wait.
    assert _rated(memory, (7, 1.0), (8, 0.50), n_waiting=3)[0].offer.host_id == 8
    # For the pool it gains next to nothing.
    assert _rated(memory, (7, 0.51), (8, 0.50))[0].offer.host_id == 8


def test_a_host_that_is_always_slow_is_believed_within_bounds() -> None:
    memory = knowing()
    memory.host_loads["7"] = [8.0, math.log(1e6)]
    assert pace(memory) == SLOWEST_HOST


def test_the_past_fades_and_is_forgotten() -> None:
    memory = knowing()
    for _ in range(8):
        load(memory, 7, 2 * USUAL_S)
    before = pace(memory)
    learn(memory, make_snapshot(workers=()), memory.at + HOST_FADES_S)
    assert 1.0 < pace(memory) < before
    memory.at += HOST_FADES_S
    learn(memory, make_snapshot(workers=()), memory.at + 6 * HOST_FADES_S)
    assert memory.host_loads == {}


def test_the_memory_of_hosts_is_bounded() -> None:
    memory = knowing()
    memory.host_loads = {str(i): [5.0, 0.1] for i in range(1, MAX_HOSTS + 1)}
    load(memory, 9_999, USUAL_S)
    assert len(memory.host_loads) == MAX_HOSTS


def test_a_hosts_past_counts_like_its_line_and_is_told_in_the_reason() -> None:
    memory = knowing()
    for _ in range(8):
        load(memory, 7, 2 * USUAL_S)
        load(memory, 8, USUAL_S)
    waiting = _rated(memory, (7, 0.50), (8, 0.55), n_waiting=3)
    assert [item.offer.host_id for item in waiting] == [8, 7]
    assert [item.offer.host_id for item in _rated(memory, (7, 0.50), (8, 0.55))] == [7, 8]
    slow = waiting[1]
    assert slow.offer.load_s == pytest.approx(pace(memory) * Beliefs(memory).load_time(1).median)
    assert "loads on its host take 1." in slow.readiness
    assert f"ready in {slow.offer.load_s:.0f} s" in str(slow)
    assert "host" not in _rated(memory, (99, 0.50))[0].readiness


def _rated(
    memory: ScalingMemory, *hosts: tuple[int, float], n_waiting: int = 0
) -> list[RatedOffer]:
    """Offers of hosts at prices, best first."""
    memory.starved = 1.0
    offers = tuple(
        replace(make_offer(host_id, usd), host_id=host_id, inet_down_mbps=1_000.0)
        for host_id, usd in hosts
    )
    snapshot = make_snapshot(offers={1: offers}, waiting=Waiting(n=n_waiting, load=100.0))
    return rate_offers(GROUP, Round(snapshot, Beliefs(memory), NOW))
