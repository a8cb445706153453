"""What is remembered has a floor: a group at rest comes to a memory that does not move any more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from chalicelib.core.fleet.failing import FADING_HALF_S, Outcomes, follow_outcomes
from chalicelib.core.fleet.searching import SearchDay, SearchPace
from chalicelib.core.fleet.set_aside import Failure
from chalicelib.core.fleet.troubles import LastingTrouble
from chalicelib.core.model.worker import WorkerState
from chalicelib.core.routing.affinity import Promises
from chalicelib.core.routing.complaints import Complaints
from chalicelib.core.routing.recent_use import KeyUse, RecentUse
from chalicelib.core.scaling.decision import decide_scaling
from chalicelib.core.scaling.memory import ScalingMemory, note_usage
from chalicelib.core.scaling.round_memory import RoundMemory
from chalicelib.core.scaling.snapshot import Traffic, WorkerFacts
from fakes.bundles.hot_ports import make_worker as make_row
from tests.core.test_scaling import NOW, make_snapshot, make_worker

PAGE = Path(__file__).parents[2] / "docs" / "internals" / "scaling.md"
HEADING = "## 13. What is remembered, and when it is nothing"
RECORDS: tuple[type[Any], ...] = (
    *(ScalingMemory, RoundMemory, Outcomes, Failure, SearchPace, SearchDay, LastingTrouble),
    *(Complaints, RecentUse, KeyUse, Promises),
)
NOTHING: Mapping[str, object] = {
    **dict.fromkeys(("load_rate", "vouched_rate", "burst_rate", "mean_raw", "mean_occupancy"), 0.0),
    **dict.fromkeys(("square_rise", "request_rate"), 0.0),
    **{name: {} for name in ("host_loads", "bid_odds", "starting", "booting", "booting_type")},
    **{name: {} for name in ("rebooted", "failed_starts", "bid_states")},
}


def rows_of_the_page() -> dict[str, list[str]]:
    """By record its fields in the table."""
    text = PAGE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            assert all(cells[:4]), f"a row lacks a cell: {line}"
            record, _, names = cells[0].partition(": ")
            found.setdefault(record.strip("`"), []).extend(re.findall(r"`(\w+)`", names))
    return found


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_a_memory_has_its_row(record: type[Any]) -> None:
    """A new field says what its unit is, below what it is nothing, and what clears it."""
    assert is_dataclass(record)
    told = rows_of_the_page()[record.__name__]
    assert sorted(told) == sorted(field.name for field in fields(record))


def play(memory: Mapping[str, object], at: float, *workers: WorkerFacts, n: int = 0) -> Any:
    """The memory after a round in which `n` requests came."""
    traffic = Traffic(n_arrived=n, arrived_load=30.0 * n, n_started=n, vouched_load=30.0 * n)
    plan = decide_scaling(make_snapshot(*workers, traffic=traffic), memory, at)
    return json.loads(json.dumps(plan.memory))


def busy_hour(n_rounds: int) -> tuple[dict[str, Any], float]:
    """Bursts; a start, loads on two hosts, and an interruptible machine that is outbid."""
    memory: dict[str, Any] = {}
    at = NOW
    for i in range(n_rounds):
        at = NOW + 10.0 * i
        bid = WorkerState.PAUSED if i % 40 > 30 else WorkerState.READY
        load = WorkerState.MODEL_LOADING if i % 50 < 20 else WorkerState.READY
        loaded_at = at if i % 50 == 20 else 0.0
        memory = play(
            memory,
            at,
            make_worker(1, WorkerState.STARTING if i % 60 < 3 else WorkerState.READY, n_working=2),
            make_worker(2, bid, is_bid=True, place="eu|4090", state_since=at),
            make_worker(
                *(3 + i // 50, load), host_id=7, load_s=90.0, created_at=at, loaded_at=loaded_at
            ),
            n=5 if i % 7 else 40,
        )
    return memory, at


def test_a_group_at_rest_comes_to_a_memory_that_does_not_move() -> None:
    memory, at = busy_hour(200)
    assert all(memory[name] for name in ("load_rate", "host_loads", "bid_odds", "usage", "peaks"))
    for minutes in [1] * 120 + [60] * 48 + [360] * 480:
        at += 60.0 * minutes
        memory = play(memory, at)
    for name, nothing in NOTHING.items():
        assert memory[name] == nothing, name
    assert {
        value for name in ("peaks", "hour_peaks", "load_peaks") for _, value in memory[name]
    } <= {0.0}
    later = play(memory, at + 3600.0)
    moving = {name for name in later if later[name] != memory[name]}
    assert moving <= {"at", "usage", "usage_s", "peaks", "hour_peaks", "load_peaks"}


def test_what_was_used_days_ago_is_nothing() -> None:
    """A round counts two minutes at most: nobody knows what was wanted while none ran."""
    memory = ScalingMemory(worker_perf=100.0)
    for _ in range(2_000):
        note_usage(memory, 250.0, 60.0)
    assert max(memory.usage) == pytest.approx(1.0)
    for _ in range(12 * 720):
        note_usage(memory, 0.0, 120.0)
    assert set(memory.usage) == {0.0}


def test_what_became_of_requests_hours_ago_is_nothing() -> None:
    row = make_row(1, NOW, boot_id="b" * 16, n_served=10, n_errored=9)
    before = {"1": Outcomes(n=9.0, n_bad=9.0, at=NOW, boot_id="b" * 16, n_ended=19, n_errored=9)}
    after = follow_outcomes(before, [row], NOW + 7 * FADING_HALF_S)["1"]
    assert 0.0 < after.n < 0.1
    after = follow_outcomes({"1": after}, [row], NOW + 8 * FADING_HALF_S)["1"]
    assert (after.n, after.n_bad) == (0.0, 0.0)


def test_a_peers_one_failure_of_hours_ago_acquits_nobody() -> None:
    """It was all that was known of the peers, however faint: all of theirs had failed."""
    memory = Complaints()
    memory.granted(1, "k", NOW)
    memory.failed(1, "k", NOW)
    later = NOW + 3 * 3600.0
    for i in range(6):
        memory.granted(2, "k", later + i)
        memory.failed(2, "k", later + i)
    assert memory.is_convicted(2, later + 6)


def test_what_was_granted_minutes_ago_is_nothing() -> None:
    use = RecentUse()
    use.asked("a", 1.0, NOW)
    use.granted("a", 50.0)
    use.asked("a", 1.0, NOW + 45.0)
    assert use.mean_cost == pytest.approx(50.0)
    use.asked("a", 1.0, NOW + 104.0)
    assert (use.load, use.n_grants, use.mean_cost) == (0.0, 0.0, 0.0)
    assert use.by_key["a"].load == 0.0
