"""What a machine may cost: nothing that can only lower it is booked as raising it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.bookkeeping import billed_seconds, book, cost_of
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
S, E = WorkerState, WorkerEvent
RUNNING, STORED = 400_000, 10_000
REPORTS = {E.LOADED, E.NOT_LOADED, E.RESTARTED, E.FAILED}
LETS_RUN = {E.START, E.REBOOT, E.MARKET_RUNNING, E.MARKET_PENDING, *REPORTS}


def machine(state: WorkerState, **changes: object) -> Worker:
    values = {"usd_per_hour": 0.4, "storage_usd_per_hour": 0.01, "created_at": NOW - 7200}
    return make_worker(1, NOW - 3600, state=state, **{**values, **changes})


def after(worker: Worker, *events: WorkerEvent) -> Worker:
    for event in events:
        worker = replace(worker, **transition(worker, event, NOW))  # type: ignore[arg-type]
    return worker


def worst(worker: Worker) -> int:
    return cost_of(worker, None).worst_microusd_per_hour


def test_a_stopped_machine_that_is_destroyed_costs_its_storage() -> None:
    stopped = machine(S.STOPPED, state_since=NOW - 1800)
    gone = after(stopped, E.DESTROY)
    assert gone.state is S.DESTROYING
    assert (worst(stopped), worst(gone)) == (STORED, STORED)
    assert billed_seconds(gone, NOW - 600, NOW + 60) == (0.0, 660.0)


def test_a_running_machine_that_is_destroyed_is_billed_until_it_is_seen_stopped() -> None:
    gone = after(machine(S.READY), E.DESTROY)
    assert worst(gone) == RUNNING
    assert worst(after(gone, E.MARKET_STOPPED)) == STORED
    assert worst(after(gone, E.MARKET_STOPPED, E.MARKET_RUNNING)) == RUNNING


def test_a_stop_that_was_only_asked_for_is_none() -> None:
    assert worst(after(machine(S.READY), E.STOP)) == RUNNING
    assert worst(after(machine(S.READY), E.STOP, E.MARKET_STOPPED)) == STORED


def test_a_refused_start_may_still_come_up() -> None:
    refused = after(machine(S.STOPPED), E.START, E.START_REFUSED)
    assert refused.state is S.UNAVAILABLE
    assert worst(refused) == RUNNING
    assert worst(after(refused, E.DESTROY)) == RUNNING


def test_a_stopped_machine_whose_host_is_lost_stays_stopped() -> None:
    lost = after(machine(S.STOPPED), E.HOST_OFFLINE)
    assert lost.state is S.UNAVAILABLE
    assert worst(lost) == STORED


@given(
    st.sampled_from(sorted(S)),
    st.lists(st.sampled_from(sorted(E)), max_size=12),
    st.sampled_from(sorted(set(E) - LETS_RUN)),
)
def test_only_what_lets_a_machine_run_raises_what_it_may_cost(
    state: WorkerState, past: list[WorkerEvent], event: WorkerEvent
) -> None:
    before = after(machine(state), *past)
    now = after(before, event)
    assert now.state is S.FOREIGN or worst(now) <= worst(before)


@pytest.mark.parametrize(("event", "usd"), [(None, 0.01), (E.DESTROY, 0.01), (E.START, 0.4)])
def test_the_books_of_a_stopped_machine(event: WorkerEvent | None, usd: float) -> None:
    worker = machine(S.STOPPED, state_since=NOW - 1800)
    worker = after(worker, event) if event else worker
    booking = book([worker], [], {}, booked_at=NOW - 3600, now=NOW, is_known=True)
    assert booking.committed_by_group == {worker.endpoint_id: usd * 1e6}
    assert booking.storage_by_group == {worker.endpoint_id: STORED}
