"""Hardware side by side: prices and errors per load, and no verdict on too little."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.comparison import compare_hardware

AUTOGROUP = Autogroup(autogroup_id=3, endpoint_id=1, created_at=0)


def worker(number: int, **facts: Any) -> Worker:
    known = {"perf": 40.0, "usd_per_hour": 0.5, "gpu_name": "RTX 4090", "loaded_at": 61.0}
    return Worker(
        endpoint_id=1, instance_id=number, autogroup_id=3, created_at=1.0, **{**known, **facts}
    )


def test_price_perf_waits_and_load_time_of_two_workers() -> None:
    minutes = [{"queue_time_s": wait} for wait in (1.0, 2.0, 9.0)]
    row = compare_hardware(
        AUTOGROUP, [worker(1, perf=30.0, reqnum=60), worker(2, perf=50.0, reqnum=60)], minutes
    )
    assert (row["perf_mean"], row["perf_error"]) == (40.0, pytest.approx(10.0))
    assert row["usd_per_1k_load"] == pytest.approx(0.5 / 3600 / 40 * 1000)
    assert (row["queue_p50_s"], row["queue_p95_s"], row["load_time_s"]) == (2.0, 9.0, 60.0)
    assert row["verdict"] == "enough data"


def test_one_worker_or_few_requests_are_not_enough_data() -> None:
    row = compare_hardware(AUTOGROUP, [worker(1, reqnum=500)], [])
    assert row["verdict"] == "not enough data (1 measured workers, 500 requests)"
    assert (row["perf_error"], row["queue_p50_s"]) == (None, None)


def test_nothing_measured_has_no_price() -> None:
    row = compare_hardware(AUTOGROUP, [worker(1, perf=0.0, loaded_at=0.0)], [])
    assert (row["usd_per_1k_load"], row["load_time_s"], row["error_share"]) == (None, None, 0.0)


def test_errors_are_those_that_failed_and_those_turned_away() -> None:
    seen = worker(1, n_served=95, n_errored=5, received_load=80.0, rejected_load=20.0)
    row = compare_hardware(AUTOGROUP, [seen], [])
    assert row["error_share"] == pytest.approx(0.2 + 0.8 * 0.05)
