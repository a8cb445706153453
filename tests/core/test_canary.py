"""Canaries: a regression is seen within minutes, and a healthy autogroup is left alone."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import pytest

from chalicelib.core.fleet.canary import (
    ERRORS,
    LATENESS,
    LIMIT,
    Counts,
    find_canary,
    next_score,
    watch_canary,
)
from chalicelib.core.model.autogroup import Autogroup, AutogroupState
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.round_memory import RoundMemory

NOW = 1_000_000.0
A_MINUTE, N_OTHERS = 20, 180  # requests a minute: a tenth of the traffic goes to the canary
HEALTHY, BROKEN = 0.002, 0.05


def minutes_until_rollback(rng: Random, rate: float, minutes: int) -> float:
    score, others = 0.0, Counts()
    for minute in range(1, minutes + 1):
        others = Counts(n=others.n + N_OTHERS, n_bad=others.n_bad + _poisson(rng, 0.36))
        n_bad = _binomial(rng, A_MINUTE, rate)
        score = next_score(score, Counts(n=A_MINUTE, n_bad=n_bad), others, ERRORS)
        if score >= LIMIT:
            return minute
    return math.inf


def _binomial(rng: Random, n: int, p: float) -> int:
    """How many of n fail, by the gaps between failures."""
    n_bad, at = 0, math.log(1.0 - rng.random()) / math.log(1.0 - p)
    while at < n:
        n_bad, at = n_bad + 1, math.floor(at) + 1 + math.log(1.0 - rng.random()) / math.log(1.0 - p)
    return n_bad


def _poisson(rng: Random, mean: float) -> int:
    n, product, limit = 0, rng.random(), math.exp(-mean)
    while product > limit:
        n, product = n + 1, product * rng.random()
    return n


def test_5_percent_errors_are_rolled_back_within_5_minutes_mostly_and_10_nearly_always() -> None:
    times = [minutes_until_rollback(Random(seed), BROKEN, 30) for seed in range(2000)]
    assert sum(time <= 5 for time in times) >= 0.85 * len(times)
    assert sum(time <= 10 for time in times) >= 0.98 * len(times)


@pytest.mark.parametrize("n_runs", [200, pytest.param(2000, marks=pytest.mark.long)])
def test_a_healthy_canary_is_rolled_back_in_less_than_one_of_a_hundred_days(n_runs: int) -> None:
    times = [minutes_until_rollback(Random(seed), HEALTHY, 24 * 60) for seed in range(n_runs)]
    assert sum(time < math.inf for time in times) < 0.01 * n_runs


def test_lateness_that_the_others_share_is_no_regression_and_a_quarter_more_is_one() -> None:
    others = Counts(n=10_000, n_bad=1_000)
    as_they = worse = 0.0
    for _ in range(60):
        as_they = next_score(as_they, Counts(n=20, n_bad=2), others, LATENESS)
        worse = next_score(worse, Counts(n=20, n_bad=7), others, LATENESS)
    assert as_they < 0
    assert worse >= LIMIT


def test_the_canary_is_the_newest_of_several_that_serve_while_it_is_new() -> None:
    old = Autogroup(autogroup_id=1, endpoint_id=1, created_at=NOW - 900_000)
    new = Autogroup(autogroup_id=2, endpoint_id=1, created_at=NOW - 60, weight=10.0)
    assert find_canary([old, new], NOW) is new
    assert find_canary([new], NOW) is None
    assert find_canary([old, replace(new, weight=0.0)], NOW) is None
    assert find_canary([replace(old, state=AutogroupState.PAUSED), new], NOW) is None
    assert find_canary([old, new], NOW + 8 * 86_400) is None


def test_counters_count_from_the_first_look_and_survive_a_restarted_process_and_storage() -> None:
    canary = Autogroup(autogroup_id=2, endpoint_id=1, created_at=NOW)
    worker = Worker(
        endpoint_id=1, instance_id=7, autogroup_id=2, created_at=NOW, n_served=500, n_errored=90
    )
    first = watch_canary(None, canary, [worker])
    assert first.canary["errors"] == (0.0, 0.0)
    second = watch_canary(first, canary, [replace(worker, n_served=510, n_errored=91)])
    assert second.canary["errors"] == (11.0, 1.0)
    memory = RoundMemory(canaries={"1": second})
    stored = RoundMemory.from_bytes(memory.to_bytes()).canaries["1"]
    third = watch_canary(stored, canary, [replace(worker, n_served=4, n_errored=0)])
    assert third.canary["errors"] == (15.0, 1.0)
