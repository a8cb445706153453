"""What a machine may cost: nothing that can only lower it is booked as raising it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.fleet.intents import IntentState, RentIntent
from chalicelib.core.model.lifecycle import WorkerEvent, transition
from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.bookkeeping import (
    billed_seconds,
    book,
    cost_of,
    start_microusd_per_hour,
)
from fakes.bundles.hot_ports import ENDPOINT_ID, make_worker

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


def record(**changes: object) -> InstanceRecord:
    seen = InstanceRecord(
        instance_id=1,
        label="",
        actual_status="running",
        intended_status="running",
        cur_state="running",
        usd_per_hour=0.3,
        storage_usd_per_hour=0.02,
    )
    return replace(seen, **changes)  # type: ignore[arg-type]


def intent(state: IntentState, planned_at: float) -> RentIntent:
    return RentIntent(
        token="t",
        endpoint_id=ENDPOINT_ID + 1,
        autogroup_id=1,
        state=state,
        planned_at=planned_at,
        offer_id=1,
        machine_id=1,
        gpu_name="RTX 4090",
        num_gpus=1,
        usd_per_hour=0.36,
        reserved_microusd_per_hour=370_000,
    )


def test_the_higher_price_of_row_and_record_counts_with_the_records_traffic() -> None:
    worker = machine(S.READY)
    assert worst(worker) == RUNNING  # no record: no traffic is priced
    cost = cost_of(worker, record(inet_up_usd_per_gb=0.003, inet_down_usd_per_gb=0.05))
    assert (cost.worst_microusd_per_hour, cost.storage_microusd_per_hour) == (453_000, 20_000)
    dearer = cost_of(worker, record(usd_per_hour=0.5, storage_usd_per_hour=0.005))
    assert (dearer.worst_microusd_per_hour, dearer.storage_microusd_per_hour) == (500_000, STORED)
    all_disk = machine(S.READY, usd_per_hour=0.0)
    assert cost_of(all_disk, None).worst_microusd_per_hour == STORED


def test_a_start_adds_what_running_costs_more_than_the_disk() -> None:
    worker = machine(S.STOPPED, state_since=NOW - 1800)
    assert start_microusd_per_hour(worker, None) == RUNNING - STORED
    listed = record(usd_per_hour=0.5, inet_up_usd_per_gb=0.003, inet_down_usd_per_gb=0.05)
    assert start_microusd_per_hour(worker, listed) == 553_000 - 20_000


def test_an_outbid_machine_is_committed_as_running_and_billed_for_its_disk() -> None:
    paused = machine(S.PAUSED, state_since=NOW - 1800)
    assert worst(paused) == RUNNING
    booking = book([paused], [], {}, booked_at=NOW - 1800, now=NOW, is_known=True)
    assert booking.spent_by_group == {ENDPOINT_ID: STORED / 2}


def test_the_books_of_a_round() -> None:
    ready, stopped = machine(S.READY), machine(S.STOPPED, state_since=NOW - 900)
    loading = machine(S.LOADING, created_at=NOW - 360)
    intents = [
        intent(IntentState.VOID, NOW - 500),
        intent(IntentState.MAYBE_RENTED, NOW - 1000),
        intent(IntentState.PLANNED, NOW - 7200),
        intent(IntentState.PLANNED, NOW + 5),
        intent(IntentState.VOID, NOW - 1000),
        intent(IntentState.CONFIRMED, NOW - 1000),
    ]
    workers = [ready, stopped, loading]
    booking = book(workers, intents, {}, booked_at=NOW - 1800, now=NOW, is_known=True)
    ran_900_s, stored_900_s = 100_000, 2_500
    by_group = {
        ENDPOINT_ID: 200_000 + ran_900_s + stored_900_s + 40_000,
        ENDPOINT_ID + 1: 100_000 + 180_000,  # since it was planned; since the last books
    }
    assert booking.spent_by_group == by_group
    assert booking.idle_microusd == 40_000 + 280_000  # who loads, and what may have been rented
    assert booking.committed_by_group == {
        ENDPOINT_ID: 2 * RUNNING + STORED,
        ENDPOINT_ID + 1: 3 * 370_000,
    }
    assert booking.storage_by_group == {ENDPOINT_ID: 3 * STORED}
    assert booking.workers_by_group == {ENDPOINT_ID: 3, ENDPOINT_ID + 1: 3}
    assert booking.booked_until == NOW
    doubted = book(workers, intents, {}, booked_at=NOW - 1800, now=NOW, is_known=False)
    assert doubted.committed_by_group is None
    assert doubted.spent_by_group == by_group


def test_who_answers_or_is_at_rest_is_not_idle() -> None:
    for state in (S.READY, S.DRAINING, S.STOPPED):
        worker = machine(state, state_since=NOW - 7200)
        booking = book([worker], [], {}, booked_at=NOW - 1800, now=NOW, is_known=True)
        assert booking.idle_microusd == 0, state
        assert booking.spent_by_group[ENDPOINT_ID] > 0


def test_what_cost_nothing_is_not_in_the_books() -> None:
    booking = book([machine(S.READY)], [], {}, booked_at=NOW, now=NOW, is_known=True)
    assert booking.spent_by_group == {}
    late = machine(S.READY, created_at=NOW + 5)
    assert billed_seconds(late, NOW - 60, NOW) == (0.0, 0.0)


def test_how_long_a_machine_ran_and_stood_within_a_span() -> None:
    worker = machine(S.STOPPED, state_since=NOW - 600, created_at=NOW - 900)
    assert billed_seconds(worker, NOW - 1800, NOW) == (300.0, 600.0)
    assert billed_seconds(worker, NOW - 700, NOW) == (100.0, 600.0)
    assert billed_seconds(worker, NOW - 300, NOW) == (0.0, 300.0)
    assert billed_seconds(worker, NOW - 1800, NOW - 700) == (200.0, 0.0)
    assert billed_seconds(machine(S.READY), NOW - 60, NOW) == (60.0, 0.0)


def test_a_disk_whose_price_is_not_told_costs_what_it_did() -> None:
    untold = record(usd_per_hour=0.0, storage_usd_per_hour=0.0)
    assert cost_of(machine(S.STOPPED), untold).storage_microusd_per_hour == STORED
