"""Tallies of spend: parts add up, days are kept apart, a full tally is followed by another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.model.market import InstanceRecord
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.money.account import DAY_S
from chalicelib.core.money.spend import (
    MAX_WORKERS,
    WRITE_EVERY_S,
    Tally,
    add_span,
    begins_anew,
    is_due,
    spans_by_day,
    spent_today_usd,
    total_usd,
    workers_of,
)

NOON = 20_000 * DAY_S + DAY_S / 2


def worker(instance_id: int = 7, state: WorkerState = WorkerState.READY, **more: object) -> Worker:
    values: dict[str, object] = {
        "usd_per_hour": 0.50,
        "storage_usd_per_hour": 0.02,
        "state_since": NOON,
        "gpu_name": "RTX 4090",
        "num_gpus": 2,
        **more,
    }
    return Worker(
        endpoint_id=1,
        instance_id=instance_id,
        autogroup_id=11,
        created_at=NOON - 100,
        state=state,
        **values,  # type: ignore[arg-type]  # checked by the class itself
    )


def test_a_running_hour_costs_gpu_and_disk_and_a_stopped_one_only_disk() -> None:
    rows = [worker(7), worker(8, WorkerState.STOPPED), worker(9, WorkerState.UNAVAILABLE)]
    tally = add_span({}, (NOON, NOON + 3600), rows, {})
    running, stopped, taken = workers_of(tally)
    assert running.gpu_usd == pytest.approx(0.48)
    assert running.disk_usd == pytest.approx(0.02)
    assert (running.autogroup_id, running.gpu_type) == (11, "2x RTX 4090")
    assert stopped.total_usd == stopped.disk_usd == pytest.approx(0.02)
    assert taken.total_usd == taken.disk_usd == pytest.approx(0.02)
    assert (tally["max_ready"], tally["ready_s"], tally["worker_s"]) == (1.0, 3600.0, 3600.0)


def record(**more: float) -> InstanceRecord:
    return InstanceRecord(
        instance_id=7, label="", actual_status="running", intended_status="running",
        cur_state="running", inet_down_usd_per_gb=0.01, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_download_is_told_once_as_the_disk_used_at_the_hosts_price() -> None:
    rows = [worker(7, loaded_at=NOON + 60, disk_usage_gb=25.0)]
    tally: Tally = {}
    for minute in range(5):
        span = (NOON + 60 * minute, NOON + 60 * minute + 60)
        tally = add_span(tally, span, rows, {7: record(disk_space_gb=32.0)})
    (spend,) = workers_of(tally)
    assert spend.download_usd == pytest.approx(0.25)
    assert spend.n_unknown_downloads == 0
    (later,) = workers_of(add_span({}, (NOON + 300, NOON + 360), rows, {7: record()}))
    assert (later.download_usd, later.n_unknown_downloads) == (0.0, 0)


def test_a_download_is_at_most_the_disk_that_was_rented() -> None:
    rows = [worker(7, loaded_at=NOON + 60, disk_usage_gb=900.0)]
    tally = add_span({}, (NOON, NOON + 120), rows, {7: record(disk_space_gb=16.0)})
    assert next(workers_of(tally)).download_usd == pytest.approx(0.16)


def test_an_unknown_download_is_said_to_be_unknown_until_the_worker_tells_its_disk() -> None:
    silent = worker(7, loaded_at=NOON + 60)
    listed = {7: record(disk_space_gb=32.0)}
    tally = add_span({}, (NOON, NOON + 120), [silent], listed)
    assert next(workers_of(tally)).n_unknown_downloads == 1
    told = worker(7, loaded_at=NOON + 60, disk_usage_gb=10.0)
    (spend,) = workers_of(add_span(tally, (NOON + 120, NOON + 180), [told], listed))
    assert spend.download_usd == pytest.approx(0.10)
    assert spend.n_unknown_downloads == 0


@given(st.lists(st.floats(0.01, 5_000), min_size=1, max_size=20))
def test_many_short_rounds_cost_as_much_as_a_long_one(steps: list[float]) -> None:
    tally: Tally = {}
    at = NOON
    for step in steps:
        tally = add_span(tally, (at, at + step), [worker()], {})
        at += step
    whole = add_span({}, (NOON, at), [worker()], {})
    assert total_usd([tally]) == pytest.approx(total_usd([whole]))


@given(st.floats(0, 5 * DAY_S), st.floats(1, 5 * DAY_S))
def test_spans_are_cut_at_midnight_and_leave_no_gap(since: float, elapsed_s: float) -> None:
    spans = list(spans_by_day(since, since + elapsed_s))
    assert (spans[0][0], spans[-1][1]) == (since, since + elapsed_s)
    assert all(a[1] == b[0] and b[0] % DAY_S == 0 for a, b in pairwise(spans))


def test_another_day_and_too_many_workers_begin_a_new_tally() -> None:
    tally = add_span({}, (NOON, NOON + 5), [worker()], {})
    assert not begins_anew(tally, NOON + 3600)
    assert begins_anew(tally, NOON + DAY_S)
    full = add_span({}, (NOON, NOON + 5), [worker(i) for i in range(MAX_WORKERS)], {})
    assert not begins_anew(full, NOON + 30)  # of the same minute: it would have the same key
    assert begins_anew(full, NOON + 60)


def test_a_tally_is_written_by_the_hour_while_it_grows_and_at_its_end() -> None:
    tally = add_span({}, (NOON, NOON + 5), [worker()], {})
    assert not is_due(tally, NOON + WRITE_EVERY_S - 1, is_over=False)
    assert is_due(tally, NOON + WRITE_EVERY_S, is_over=False)
    assert is_due(tally, NOON + 6, is_over=True)
    written = {**tally, "written_at": NOON + 6}
    assert not is_due(written, NOON + DAY_S, is_over=True)


def test_yesterdays_tally_is_not_todays_spend() -> None:
    tally = add_span({}, (NOON, NOON + 3600), [worker()], {})
    assert spent_today_usd(tally, NOON + 3600) == pytest.approx(0.50)
    assert spent_today_usd(tally, NOON + DAY_S) == 0.0


def test_what_interruptible_machines_saved_and_broke_is_told_apart() -> None:
    bid: dict[str, Any] = {"is_bid": True, "on_demand_usd_per_hour": 1.0, "usd_per_hour": 0.52}
    rows = [
        worker(7, **bid),
        worker(8, WorkerState.PAUSED, **bid, state_since=NOON + 1800, n_cut=3),
        worker(9),
    ]
    tally = add_span({}, (NOON, NOON + 3600), rows, {})
    assert tally["bid_usd"] == pytest.approx(0.75)
    assert tally["bid_saved_usd"] == pytest.approx(0.72)
    assert (tally["bid_n_taken"], tally["bid_n_cut"]) == (1.0, 3.0)
    later = add_span(tally, (NOON + 3600, NOON + 7200), rows, {})
    assert (later["bid_n_taken"], later["bid_n_cut"]) == (1.0, 3.0)
    assert len(list(workers_of(later))) == 3


def test_without_them_a_tally_has_nothing_of_them() -> None:
    assert not any(
        name.startswith("bid") for name in add_span({}, (NOON, NOON + 60), [worker()], {})
    )
