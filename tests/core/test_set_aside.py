"""Failure has a memory that grows and fades; ready is not usable."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.fleet.set_aside import (
    FIRST_S,
    FORGOTTEN_AFTER_S,
    FREE_TRIES,
    LONGEST_PAUSE_S,
    LONGEST_S,
    Failures,
    add_failure,
    autogroup_key,
    forgive,
    offer_key,
    set_aside_until,
)
from chalicelib.core.model.usable import (
    Unusable,
    usable_workers,
    why_unusable,
)
from chalicelib.core.model.worker import WorkerState
from fakes.bundles.hot_ports import make_worker

NOW = 1_000_000.0


def test_an_offer_is_set_aside_for_longer_each_time_and_then_forgotten() -> None:
    failures: Failures = {}
    pauses = []
    for n in range(12):
        failures = add_failure(failures, [offer_key(1)], "no", NOW + n)
        pauses.append(set_aside_until(failures, NOW + n)["offer:1"] - NOW - n)
    assert pauses[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert pauses[-1] == LONGEST_S
    later = NOW + FORGOTTEN_AFTER_S + 60
    again = add_failure(failures, [offer_key(1)], "no", later)
    assert set_aside_until(again, later)["offer:1"] == later + FIRST_S


def test_an_autogroup_pauses_only_after_several_refusals_and_briefly() -> None:
    failures: Failures = {}
    for n in range(20):
        failures = add_failure(failures, [autogroup_key(1)], "no", NOW)
        assert bool(set_aside_until(failures, NOW)) == (n >= FREE_TRIES)
    assert set_aside_until(failures, NOW)["autogroup:1"] == NOW + LONGEST_PAUSE_S
    assert forgive(failures, ["autogroup:1"]) == {}


def test_a_clock_that_was_ahead_sets_nothing_aside_for_longer_than_can_be() -> None:
    ahead = add_failure({}, [offer_key(1)], "no", NOW + 40 * 86_400)
    healed = add_failure(ahead, [offer_key(2)], "no", NOW)
    assert set_aside_until(healed, NOW)["offer:1"] <= NOW + LONGEST_S


def test_usable_is_ready_measured_addressed_and_heard_of() -> None:
    worker = make_worker(1, NOW)
    assert why_unusable(worker) is None
    assert why_unusable(replace(worker, url="")) is Unusable.NO_ADDRESS
    assert why_unusable(replace(worker, perf=0.0)) is Unusable.UNMEASURED
    assert why_unusable(replace(worker, state=WorkerState.LOADING)) is Unusable.NOT_READY
    assert why_unusable(replace(worker, perf=0.5)) is None
    assert why_unusable(worker, is_silent=True) is Unusable.SILENT
    silent = replace(make_worker(2, NOW), reported_at=NOW - 30, started_at=NOW - 900)
    assert usable_workers([worker, silent], NOW) == [worker]
