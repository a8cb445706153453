"""A worker's life: told as stories, and held to laws over the whole table."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.lifecycle import (
    WorkerEvent,
    market_event,
    next_state,
    silence_event,
    silent_workers,
    transition,
)
from chalicelib.core.model.worker import AfterDrain, Worker, WorkerState
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
S, E = WorkerState, WorkerEvent


def live(worker: Worker, *events: WorkerEvent) -> list[WorkerState]:
    """The states a worker goes through."""
    states = []
    for i, event in enumerate(events):
        changes = transition(worker, event, NOW + i, error="broken" if event is E.FAILED else "")
        worker = replace(worker, **changes)  # type: ignore[arg-type]
        states.append(worker.state)
    return states


def new() -> Worker:
    return make_worker(1, NOW, state=S.CREATING, loaded_at=0.0, perf=0.0)


def test_a_first_load() -> None:
    events = (E.MARKET_PENDING, E.MARKET_RUNNING, E.NOT_LOADED, E.LOADED)
    assert live(new(), *events) == [S.LOADING, S.MODEL_LOADING, S.MODEL_LOADING, S.READY]


def test_a_stop_and_a_start() -> None:
    events = (E.DRAIN, E.STOP, E.MARKET_STOPPED, E.START, E.MARKET_RUNNING, E.LOADED)
    assert live(make_worker(1, NOW), *events) == [
        S.DRAINING,
        S.STOPPING,
        S.STOPPED,
        S.STARTING,
        S.STARTING,
        S.READY,
    ]


def test_a_refused_start_and_a_second_try() -> None:
    cold = make_worker(1, NOW, state=S.STOPPED)
    assert live(cold, E.START, E.START_REFUSED, E.START, E.LOADED) == [
        S.STARTING,
        S.UNAVAILABLE,
        S.STARTING,
        S.READY,
    ]
    assert transition(cold, E.START_REFUSED, NOW)["n_start_refusals"] == 1


def test_silence_and_a_word() -> None:
    assert live(make_worker(1, NOW), E.SILENT, E.LOST, E.LOADED) == [
        S.SUSPECT,
        S.UNREACHABLE,
        S.READY,
    ]


def test_an_error_a_reboot_and_a_recovery() -> None:
    assert live(make_worker(1, NOW), E.FAILED, E.REBOOT, E.NOT_LOADED, E.LOADED) == [
        S.ERROR,
        S.REBOOTING,
        S.STARTING,
        S.READY,
    ]


def test_a_recalled_worker_forgets_what_was_to_become_of_it() -> None:
    draining = make_worker(1, NOW, state=S.DRAINING, after_drain=AfterDrain.STOP, drain_by=NOW + 60)
    changes = transition(draining, E.RECALL, NOW)
    assert (changes["state"], changes["after_drain"], changes["drain_by"]) == (S.READY, None, None)


def test_a_stopped_worker_has_nothing_in_flight() -> None:
    busy = make_worker(1, NOW, state=S.STOPPING, working_load=9.0, n_working=1, unseen_load=3.0)
    changes = transition(busy, E.MARKET_STOPPED, NOW)
    assert (changes["working_load"], changes["n_working"], changes["unseen_load"]) == (0, 0, 0)


def test_another_versions_worker_is_left_alone() -> None:
    assert {next_state(S.FOREIGN, event) for event in E} == {S.FOREIGN}


@pytest.mark.parametrize("state", sorted(set(S) - {S.FOREIGN}))
def test_everything_can_be_destroyed_and_what_is_being_destroyed_stays_so(
    state: WorkerState,
) -> None:
    assert next_state(state, E.DESTROY) is S.DESTROYING
    for event in E:
        assert next_state(S.DESTROYING, event) is S.DESTROYING


@pytest.mark.parametrize("event", [e for e in E if e not in (E.LOADED, E.HEARD, E.RECALL)])
@pytest.mark.parametrize("state", [s for s in S if s is not S.READY])
def test_only_a_report_or_a_recall_makes_ready(state: WorkerState, event: WorkerEvent) -> None:
    assert next_state(state, event, was_loaded=True) is not S.READY


@pytest.mark.parametrize("state", [S.DRAINING, S.STOPPING, S.STOPPED, S.DESTROYING, S.UNAVAILABLE])
def test_a_report_does_not_undo_what_we_are_doing(state: WorkerState) -> None:
    assert next_state(state, E.LOADED, was_loaded=True) is state


@pytest.mark.parametrize("was_loaded", [False, True])
@given(state=st.sampled_from(S), event=st.sampled_from(E))
def test_an_event_twice_is_an_event_once(
    state: WorkerState, event: WorkerEvent, was_loaded: bool
) -> None:
    once = next_state(state, event, was_loaded=was_loaded)
    # A worker of an error that is heard of as not loaded is on its way, and stays there.
    assert next_state(once, event, was_loaded=was_loaded) is once


@given(state=st.sampled_from(S), event=st.sampled_from(E))
def test_a_change_of_state_is_dated(state: WorkerState, event: WorkerEvent) -> None:
    worker = make_worker(1, NOW - 100, state=state)
    changes = transition(worker, event, NOW)
    assert ("state_since" in changes) == ("state" in changes)


@pytest.mark.parametrize(
    ("intended", "actual", "event"),
    [
        ("running", None, E.MARKET_PENDING),
        ("running", "created", E.MARKET_PENDING),
        ("running", "loading", E.MARKET_PENDING),
        ("running", "running", E.MARKET_RUNNING),
        ("stopped", "running", None),
        ("stopped", "exited", E.MARKET_STOPPED),
        ("stopped", "stopped", E.MARKET_STOPPED),
        ("running", "offline", E.HOST_OFFLINE),
        (None, None, E.MARKET_PENDING),
    ],
)
def test_what_vast_says(
    intended: str | None, actual: str | None, event: WorkerEvent | None
) -> None:
    assert market_event(intended, actual) is event


@pytest.mark.parametrize(
    ("silent_s", "event"), [(19.0, None), (21.0, E.SILENT), (59.0, E.SILENT), (61.0, E.LOST)]
)
def test_silence_is_counted_from_the_last_word(silent_s: float, event: WorkerEvent | None) -> None:
    assert silence_event(make_worker(1, NOW, started_at=0.0), NOW + silent_s) is event


def test_a_worker_that_need_not_speak_is_not_silent() -> None:
    for state in (S.STOPPED, S.MODEL_LOADING, S.DESTROYING):
        assert silence_event(make_worker(1, NOW, state=state), NOW + 999) is None


@pytest.mark.parametrize(("n_silent", "n_blamed"), [(1, 1), (2, 2), (3, 0), (4, 0)])
def test_when_more_than_half_fall_silent_at_once_it_is_our_trouble(
    n_silent: int, n_blamed: int
) -> None:
    fleet = [
        make_worker(i, NOW, reported_at=NOW - (30 if i < n_silent else 0), started_at=0.0)
        for i in range(4)
    ]
    assert len(silent_workers(fleet, NOW)) == n_blamed


def test_a_single_silent_worker_is_blamed() -> None:
    assert silent_workers([make_worker(1, NOW - 30, started_at=0.0)], NOW) == {1}
