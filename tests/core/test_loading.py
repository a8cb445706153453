"""The parts of a load and of a start: kept short in the row, told with the slowest, usual ones."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from chalicelib.core.fleet.loading import pack, parts_of, sentence, slowest, unpack, usual
from chalicelib.core.fleet.report import apply_report
from chalicelib.core.model.worker import Worker, WorkerState
from chalicelib.wire.reports import MAX_PHASES, WorkerReport
from fakes.bundles.hot_ports import make_worker

NOW = 1_800_000_000.0
PHASES = {"starting": 2.0, "download": 40.0, "weights": 12.5, "compile": 8.0, "benchmark": 0.2}


def report(**fields: object) -> WorkerReport:
    body = {"id": 31, "ticket": "D", "boot_id": "00" * 8, "seq": 1, "max_perf": 50.0, **fields}
    return WorkerReport.from_json(json.dumps(body))


def coming_up(state: WorkerState, **fields: object) -> Worker:
    made = make_worker(31, NOW, state=state, reported_at=NOW - 1, perf=0.0, loaded_at=0.0)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_what_went_by_before_the_worker_began_is_the_hosts() -> None:
    worker = coming_up(WorkerState.MODEL_LOADING, created_at=NOW - 100)
    changes = apply_report(worker, report(load_phases=PHASES), NOW).changes
    parts = unpack(str(changes["first_load"]))
    assert parts == {"pull": 37.3, "starting": 2, "download": 40, "weights": 12.5, "compile": 8}
    assert slowest(parts) == "download"
    assert sentence(parts) == (
        "100 s: pull 37 s, starting 2 s, download 40 s, weights 12 s, compile 8 s; "
        "the slowest: download"
    )
    assert "last_start" not in changes


def test_a_start_after_a_stop_is_kept_apart_from_the_first_load() -> None:
    worker = coming_up(WorkerState.STARTING, state_since=NOW - 30, created_at=NOW - 9_999)
    worker = replace(worker, first_load="pull 60", loaded_at=NOW - 9_000)
    changes = apply_report(worker, report(load_phases={"weights": 20.0}), NOW).changes
    assert unpack(str(changes["last_start"])) == {"pull": 10, "weights": 20}
    assert "first_load" not in changes


@pytest.mark.parametrize("state", [WorkerState.READY, WorkerState.ERROR, WorkerState.SUSPECT])
def test_who_only_comes_back_has_not_loaded(state: WorkerState) -> None:
    worker = coming_up(state, loaded_at=NOW - 500, perf=50.0)
    changes = apply_report(worker, report(load_phases=PHASES), NOW).changes
    assert not {"first_load", "last_start"} & set(changes)


@pytest.mark.parametrize(
    "told",
    [None, [], "x", {"a b\x00": 1.0}, {"weights": "9"}, {"weights": True}, {"weights": -1.0},
     {"weights": 1e9}, {"Weights": 1.0}, {"w" * 30: 1.0}],
)  # fmt: skip
def test_parts_that_make_no_sense_are_left_out(told: object) -> None:
    assert report(load_phases=told).load_phases == ()


def test_a_flood_of_parts_is_cut_and_a_row_stays_short() -> None:
    many = {f"p{chr(97 + n % 26)}{chr(97 + n // 26)}": 1e5 / 3 for n in range(200)}
    found = report(load_phases=many).load_phases
    assert len(found) == MAX_PHASES
    packed = pack(parts_of(found, ordered_at=NOW - 1e6, now=NOW))
    assert len(packed) < 300
    assert unpack(packed)


def test_the_usual_load_is_the_median_of_each_part() -> None:
    loads = ["pull 30,weights 10", "pull 50,weights 12,download 90", "", "pull 40,weights 11", "?"]
    assert usual(loads) == {"pull": 40.0, "weights": 11.0, "download": 0.0}
    assert usual([]) == {}
