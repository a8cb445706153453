"""Hardware side by side: prices and errors per load, and no verdict on too little."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.core.model.autogroup import Autogroup
from chalicelib.core.model.worker import Worker
from chalicelib.core.scaling.comparison import compare_hardware, name_cheapest, welch_p

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
    assert row["verdict"] == "needs 1 more measured worker"
    assert (row["perf_error"], row["queue_p50_s"]) == (None, None)


def test_nothing_measured_has_no_price() -> None:
    row = compare_hardware(AUTOGROUP, [worker(1, perf=0.0, loaded_at=0.0)], [])
    assert (row["usd_per_1k_load"], row["load_time_s"], row["error_share"]) == (None, None, None)


def test_errors_are_those_that_failed_and_those_turned_away() -> None:
    seen = worker(1, n_served=95, n_errored=5, received_load=80.0, rejected_load=20.0)
    row = compare_hardware(AUTOGROUP, [seen], [])
    assert row["error_share"] == pytest.approx(0.2 + 0.8 * 0.05)


@pytest.mark.parametrize(
    ("ones", "others", "p"),
    [  # scipy.stats.ttest_ind(ones, others, equal_var=False).pvalue
        ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0], 0.0213116),
        ([1.0, 1.2, 0.9, 1.1], [1.0, 1.3, 1.1], 0.4886602),
        ([1.0, 1.0], [1.0, 1.0], 1.0),
    ],
)
def test_the_chance_of_a_difference_is_welchs(
    ones: list[float], others: list[float], p: float
) -> None:
    assert welch_p(ones, others) == pytest.approx(p, abs=1e-5)
    assert welch_p(others, ones) == pytest.approx(p, abs=1e-5)


def test_a_verdict_names_the_cheapest_or_says_that_there_is_no_difference() -> None:
    def verdicts(*prices: list[float], reqnum: int = 60) -> list[object]:
        autogroups = [Autogroup(autogroup_id=i, endpoint_id=1, created_at=0) for i in (3, 4, 5)]
        workers: dict[object, list[Worker]] = {
            one.autogroup_id: [
                worker(n, usd_per_hour=usd, reqnum=reqnum) for n, usd in enumerate(p)
            ]
            for one, p in zip(autogroups, prices, strict=False)
        }
        rows = [
            compare_hardware(one, workers[one.autogroup_id], [])
            for one in autogroups[: len(prices)]
        ]
        return [row["verdict"] for row in name_cheapest(rows, workers)]

    assert verdicts([0.5, 0.51]) == ["nothing to compare it with"]
    sure = verdicts([0.50, 0.51, 0.49], [0.90, 0.91, 0.89])
    assert sure == ["cheapest for its load", "dearer than 3 (p=0.00)"]
    unsure = verdicts([0.5, 0.9], [0.6, 0.9])
    assert unsure[0] == "no dearer than the others"
    assert str(unsure[1]).startswith("no difference from 3 (p=0.")
    assert verdicts([0.5], [0.9, 0.91])[0] == "needs 1 more measured worker and 40 more requests"
    assert verdicts() == []
