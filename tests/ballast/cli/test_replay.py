"""Replaying a group's own traffic: the series' load is kept, and two settings are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ballast.cli.errors import CliError
from ballast.cli.replay import params_of, trace_of
from fakes.console.console_scenes import NOW
from fakes.console.server import Console

Ballast = Callable[..., Any]  # runs the command in this process, see conftest.py


def series(n_steps: int, *, rate: float = 2.0, load: float = 600.0) -> dict[str, Any]:
    times = [NOW + 60.0 * step for step in range(n_steps)]
    values = {"reqrate": [rate] * n_steps, "arriving_load": [load] * n_steps}
    return {"t": times, "step_s": 60.0, "values": values}


def test_the_trace_carries_the_series_load_in_units_of_a_worker() -> None:
    trace = trace_of(series(180), worker_perf=300.0)
    assert len(trace.times) == 180 * 120
    assert sum(trace.loads) == pytest.approx(180 * 60 * 600 / 300)
    assert trace.times == sorted(trace.times)
    assert trace.duration_s == 180 * 60


def test_a_short_history_is_repeated_to_two_hours() -> None:
    trace = trace_of(series(7), worker_perf=300.0)
    assert trace.duration_s == 18 * 420
    assert len(trace.times) == 18 * 7 * 120
    assert trace.times == sorted(trace.times)


def test_minutes_without_figures_are_quiet() -> None:
    gap = series(120)
    gap["values"]["reqrate"][1] = gap["values"]["arriving_load"][1] = None
    assert len(trace_of(gap, 300.0).times) == 119 * 120


def test_too_little_traffic_is_said() -> None:
    with pytest.raises(CliError, match="too few to learn from"):
        trace_of(series(10, rate=0.0), 300.0)
    with pytest.raises(CliError, match="only 0 requests"):
        trace_of({"t": [], "values": {}}, 300.0)


def test_parameters_are_taken_over_and_loads_rescaled() -> None:
    row = {"min_load": 600.0, "target_util": 0.9, "cold_mult": None, "max_workers": 20}
    params = params_of(row, {"target_util": 0.5}, worker_perf=300.0)
    assert (params.min_load, params.target_util, params.cold_mult) == (2.0, 0.5, None)


def test_simulate_compares_as_it_is_with_the_change(ballast: Ballast, console: Console) -> None:
    console.series = series(120, rate=0.2, load=60.0)
    result = ballast("simulate", "TGI-Llama3", "--set", "min_load=3000", "--json")
    assert result.code == 0
    answer = result.json()
    assert answer["changed"]["usd"] > 2 * answer["as_it_is"]["usd"]  # ten workers, always ready
    assert {call.method for call in console.calls if "workers" not in call.path} == {"GET"}


@pytest.mark.parametrize("change", ["speed=1", "target_util=much", "target_util=7", ""])
def test_a_change_that_cannot_be_tried_is_refused(
    ballast: Ballast, console: Console, change: str
) -> None:
    console.series = series(120, rate=0.2, load=60.0)
    words = ("--set", change) if change else ()
    assert ballast("simulate", "TGI-Llama3", *words).code == 2


def test_simulate_prices_each_target_and_says_that_it_is_an_estimate(
    ballast: Ballast, console: Console
) -> None:
    console.series = series(120, rate=0.2, load=60.0)
    result = ballast("simulate", "TGI-Llama3", "--targets", "0.95,0.999", "--json")
    answer = result.json()
    assert [row["slo_target"] for row in answer["targets"]] == [0.95, 0.999]
    assert answer["is_estimate"] is True
    assert ballast("simulate", "TGI-Llama3", "--targets", "2").code == 2
