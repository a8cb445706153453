"""The vendor's fields tell the present: what does not answer has no load."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.core.scaling.minute_series import fleet_figures
from chalicelib.services.owner.views.observability import current_load, worker_row

LAST_REPORT: dict[str, Any] = {
    "load_rate": 24_087.4, "n_working": 3, "granted_load": 1e6, "granted_marks": ((1.0, 0.0),)
}  # fmt: skip


def worker(state: WorkerState) -> Worker:
    return Worker(
        endpoint_id=1, instance_id=7, autogroup_id=3, created_at=1.0, state=state, **LAST_REPORT
    )


@pytest.mark.parametrize("state", [s for s in WorkerState if not s.is_answering])
def test_what_does_not_answer_has_no_load(state: WorkerState) -> None:
    row = worker_row(worker(state))
    told = [row[name] for name in ("cur_load", "new_load", "cur_load_rolling_avg", "reqs_working")]
    assert told == [0, 0, 0, 0]
    assert current_load(worker(state)) == 0


@pytest.mark.parametrize("state", [s for s in WorkerState if s.is_answering])
def test_what_answers_tells_its_last_report(state: WorkerState) -> None:
    row = worker_row(worker(state))
    assert (row["cur_load"], row["new_load"], row["reqs_working"]) == (24_087.4, 1e6, 3)


def test_the_series_counts_no_load_of_a_fleet_that_is_empty() -> None:
    assert fleet_figures([])["curload"] == 0
