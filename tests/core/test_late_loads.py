"""A first load that is late and alone is hedged by one more rental; no other load is."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.actions import DestroyWorker, RentOffer
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.learning import LOAD_PRIOR_S, Beliefs, learn
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.moves.orders import UNMEASURED_AT_ONCE
from chalicelib.core.scaling.snapshot import Waiting, WorkerFacts
from tests.core.test_scaling import NOW, make_snapshot, make_worker, of_kind

LATE_S = 2.5 * LOAD_PRIOR_S  # beyond the 90th percentile, before the time-out
FEW, MANY = {"worker_perf": 100.0, "worker_slots": 4.0}, Waiting(n=80, load=8000, overdue_load=8000)


def _loading(instance_id: int, age_s: float, progress_at: float = 0.0) -> WorkerFacts:
    return make_worker(
        instance_id,
        WorkerState.LOADING,
        perf=0.0,
        loaded_at=0.0,
        created_at=NOW - age_s,
        progress_at=progress_at,
    )


def _n_rented(*workers: WorkerFacts, memory: dict[str, object], n_waiting: int = 4) -> int:
    waiting = Waiting(n=n_waiting, load=100.0 * n_waiting, overdue_load=100.0 * n_waiting)
    plan = decide_scaling(make_snapshot(*workers, waiting=waiting, max_workers=9), memory, NOW)
    assert not of_kind(plan, DestroyWorker)
    return len(of_kind(plan, RentOffer))


def test_until_a_worker_is_measured_as_many_loads_are_awaited_as_few_slots_would_take() -> None:
    assert _n_rented(memory={}) == 1
    assert _n_rented(_loading(1, 300.0), memory={}) == 0
    assert _n_rented(memory={}, n_waiting=1) == 1
    assert _n_rented(memory={}, n_waiting=17) == 5
    assert _n_rented(_loading(1, 300.0), _loading(2, 300.0), memory={}, n_waiting=17) == 3
    assert _n_rented(memory={}, n_waiting=10_000) == UNMEASURED_AT_ONCE


def test_who_waits_is_shared_by_the_autogroups_that_would_serve() -> None:
    snapshot = make_snapshot(waiting=MANY, max_workers=30)
    both = tuple(replace(snapshot.autogroups[0], autogroup_id=n, weight=n) for n in (1, 3))
    offers = {n: snapshot.offers[1] for n in (1, 3)}
    plan = decide_scaling(replace(snapshot, autogroups=both, offers=offers), {}, NOW)
    rented = Counter(action.autogroup_id for action in of_kind(plan, RentOffer))
    assert rented == {1: 2, 3: 6}


def test_a_late_load_that_nobody_could_stand_in_for_is_hedged_once() -> None:
    assert _n_rented(_loading(1, LATE_S), memory={}) == 1
    assert _n_rented(_loading(1, LATE_S), _loading(2, LATE_S), memory={}) == 0


def test_a_load_that_tells_of_progress_is_awaited_however_long_it_takes() -> None:
    assert _n_rented(_loading(1, LATE_S, progress_at=NOW - 60), memory={}) == 0


def test_a_late_load_beside_a_worker_that_could_serve_is_awaited() -> None:
    stopped = make_worker(2, WorkerState.STOPPED)
    in_time = _n_rented(stopped, _loading(1, 300.0), memory={})
    assert _n_rented(stopped, _loading(1, LATE_S), memory={}) == in_time


@pytest.mark.parametrize("age_s", [60.0, LATE_S])
def test_what_waits_counts_as_demand_when_nothing_is_ready(age_s: float) -> None:
    """Once load is known, eighty late requests rent what works them off, stuck loader or not."""
    plan = decide_scaling(
        make_snapshot(_loading(1, age_s), waiting=MANY, max_workers=9),
        {**FEW, "at": NOW - 5, "mean_load": 100.0},
        NOW,
    )
    assert plan.figures["occupancy"] > 50
    assert plan.hot_target > 50


def _on_a_slow_line(age_s: float) -> WorkerFacts:
    """20 GB over 200 Mbit/s take 640 s longer than over 1,000."""
    return replace(_loading(1, age_s), load_s=LOAD_PRIOR_S + 640.0)


def test_a_load_is_late_by_the_line_of_its_host() -> None:
    assert _n_rented(_on_a_slow_line(LATE_S), memory={}) == 0
    assert _n_rented(_on_a_slow_line(3 * LATE_S), memory={}) == 1
    quick = replace(_loading(1, LATE_S / 2), load_s=LOAD_PRIOR_S / 3)
    assert _n_rented(quick, memory={}) == 1


def test_a_load_is_given_up_by_the_line_of_its_host() -> None:
    usual_s = Beliefs(ScalingMemory()).load_timeout(1)
    for age_s, is_given_up in ((1.5 * usual_s, False), (3.5 * usual_s, True)):
        plan = decide_scaling(make_snapshot(_on_a_slow_line(age_s)), {}, NOW)
        assert bool(of_kind(plan, DestroyWorker)) is is_given_up
    assert of_kind(
        decide_scaling(make_snapshot(_loading(1, 1.5 * usual_s)), {}, NOW), DestroyWorker
    )


def test_what_is_rented_says_how_long_its_load_should_take() -> None:
    snapshot = make_snapshot(waiting=MANY, max_workers=30)
    slow = tuple(replace(offer, inet_down_mbps=200.0) for offer in snapshot.offers[1])
    (first, *_) = of_kind(decide_scaling(replace(snapshot, offers={1: slow}), {}, NOW), RentOffer)
    for offer in (first.offer, *first.alternatives):
        assert offer.load_s == pytest.approx(LOAD_PRIOR_S + 640.0)


def test_loads_on_slow_lines_do_not_make_the_usual_one_look_slow() -> None:
    memory = ScalingMemory(at=NOW - 900.0)
    loading = _on_a_slow_line(0.0)
    learn(memory, make_snapshot(replace(loading, created_at=NOW - 895.0)), NOW - 890.0)
    ready = make_worker(1, WorkerState.READY, created_at=NOW - 895.0, loaded_at=NOW + 45.0)
    learn(memory, make_snapshot(ready), NOW + 50.0)
    assert Beliefs(memory).load_time(1).median == pytest.approx(LOAD_PRIOR_S, rel=0.01)
