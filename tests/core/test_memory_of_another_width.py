"""A memory whose rows another version wrote longer or shorter: each is left out by itself."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.round_memory import BLOB_NAME
from tests.stories.day import Day

ROWS: dict[str, list[list[float]] | dict[str, list[float]]] = {
    "peaks": [[1.0, 2.0]],
    "hour_peaks": [[1.0, 2.0]],
    "load_peaks": [[1.0, 2.0]],
    "perf": {"1|A": [1.0, 2.0, 3.0]},
    "perf_per_dlperf": {"1": [1.0, 2.0, 3.0]},
    "load_times": {"1": [1.0, 2.0, 3.0]},
    "host_loads": {"1": [1.0, 2.0]},
    "boots": {"1|A": [1.0, 2.0]},
    "bid_odds": {"b:1": [1.0, 2.0, 3.0, 4.0, 5.0]},
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_known_width_stay_and_others_go(name: str) -> None:
    rows = ROWS[name]
    assert asdict(ScalingMemory.from_json({name: rows}))[name] == rows
    if isinstance(rows, dict):
        (row,) = rows.values()
        more = {**rows, "x": row[:-1], "y": [*row, 1.0], "z": []}
        assert asdict(ScalingMemory.from_json({name: more}))[name] == rows
    else:
        wide: list[list[float]] = [rows[0][:-1], *rows, [*rows[0], 1.0], []]
        assert asdict(ScalingMemory.from_json({name: wide}))[name] == rows


def test_sums_of_another_width_start_anew() -> None:
    memory = ScalingMemory.from_json({"start_times": [4.0, 3.0], "starts": [1.0, 2.0, 3.0]})
    assert (memory.start_times, memory.starts) == ([0.0, 0.0, 0.0], [0.0, 0.0])
    kept = ScalingMemory.from_json({"start_times": [4.0, 3.0, 1.0], "starts": [1.0, 2.0]})
    assert ScalingMemory.from_json({"booting": {"5": [1.0], "6": []}}).booting == {"5": [1.0]}
    assert (kept.start_times, kept.starts) == ([4.0, 3.0, 1.0], [1.0, 2.0])


def test_rounds_go_on_with_marks_and_tallies_that_another_version_wrote_shorter() -> None:
    day = Day()
    group = day.group(cold_workers=0)
    day.minutes(6, 4, of=group)
    blob = day.world.ledger.read_blob(BLOB_NAME)
    assert blob is not None
    memory, key = json.loads(blob), str(group.endpoint_id)
    memory["traffic"][key]["waiting"] = [1.0]
    del memory["spend"][key]["begun_at"]
    fence = day.world.ledger.account().fence
    day.world.ledger.write_blob(fence, BLOB_NAME, json.dumps(memory).encode())
    day.minutes(6, 4, of=group)
    assert day.world.n_waiting <= 4
    assert day.troubles() == {}
