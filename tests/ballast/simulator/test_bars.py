"""The table of bars: it goes on where it was stopped, and compares at equal attainment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ballast.simulator.bars import POINTS, Run, main, points_of, read_runs, tables, verdict
from ballast.simulator.pictures.bars_picture import draw_bars

SMALL = [
    *("--trace", "synthetic:steady", "--days", "0.004", "--fleets", "2", "--restarts", "20"),
    *("--seeds", "0", "--targets", "0.99", "--clients", "sdk", "--rivals", "hpa", "--results"),
]


def run(policy: str, within_slo: float, over_clair: float, seed: int = 0) -> Run:
    return Run(
        trace="t",
        days=3.0,
        fleet=8.0,
        restart_s=20.0,
        queue="sdk" if policy.startswith("ballast") else "early",
        policy=policy,
        seed=seed,
        within_slo=within_slo,
        over_clair=over_clair,
        creates_per_hour=1.5,
    )


def test_a_stopped_table_goes_on_and_plays_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "bars.jsonl"
    assert main([*SMALL, str(results)]) == 0
    lines = results.read_text().splitlines()
    assert len(lines) == 10  # ours and nine points of the rival
    results.write_text("\n".join(lines[:-1]) + "\n")
    capsys.readouterr()
    main([*SMALL, str(results)])
    assert capsys.readouterr().err.count("Run(") == 1
    assert results.read_text().splitlines() == lines
    assert len(read_runs(results)) == 10


def test_ours_is_compared_with_the_rivals_line_at_our_attainment_seed_by_seed() -> None:
    runs = [
        run("ballast:0.99", 0.99, 0.95),
        run("ballast:0.99", 0.99, 0.99, seed=1),
        *(run("window:1,120", 0.999, 1.2, seed) for seed in (0, 1)),
        *(run("window:1.2,120", 0.99, 1.0, seed) for seed in (0, 1)),
    ]
    (ours,) = (line for line in tables({r.key: r for r in runs}, "t", 3.0) if "sdk" in line)
    assert "| 99.00 % | 0.970 | 1.50 | -3.0% ± 25.4 | - |" in ours


def test_the_verdict_is_the_median_over_the_cells_and_names_what_breaks_a_limit() -> None:
    rivals = [
        run(f"window:{knob},120", share, cost, seed)
        for knob, share, cost in ((1, 0.999, 1.0), (2, 0.95, 1.0))
        for seed in (0, 1)
    ]
    ours = [run("ballast:0.95", 0.99, 0.9), run("ballast:0.95", 0.99, 0.9, seed=1)]
    dear = [run("ballast:0.99", 0.985, 1.1, seed) for seed in (0, 1)]
    lines = verdict([*rivals, *ours, *dear])
    assert "median, sdk clients, against window: +0.0% over 2" in lines
    assert "median, paced clients, against window: -" in lines
    assert [line for line in lines if not line.startswith("median")] == [
        "fleet 8.0, 20.0 s, ballast:0.99, sdk: on time 98.50%",
        "fleet 8.0, 20.0 s, ballast:0.99, sdk: +10.0% against window, outside of the interval",
    ]
    often = [replace(ours[0], creates_per_hour=2.5)]
    assert verdict(often)[-1] == "fleet 8.0, 20.0 s, ballast:0.95, sdk: 2.50 creates an hour"


@pytest.mark.parametrize("fleet", [2.0, 5.0, 8.0, 30.0])
@pytest.mark.parametrize("rival", POINTS)
def test_a_rival_is_played_at_no_more_than_twelve_points_of_a_cell(
    rival: str, fleet: float
) -> None:
    knobs = points_of(rival, fleet)
    assert len(set(knobs)) == len(knobs)
    assert 7 <= len(knobs) <= 12


def test_the_picture_has_a_panel_for_each_cell(tmp_path: Path) -> None:
    runs = [
        replace(run(policy, share, cost), fleet=fleet, restart_s=restart_s)
        for fleet in (2.0, 8.0)
        for restart_s in (20.0, 60.0)
        for policy, share, cost in (
            ("ballast:0.99", 0.99, 0.9),
            ("window:1,120", 0.995, 1.1),
            ("window:9,120", 0.2, 0.8),
        )
    ]
    drawn = draw_bars(runs, tmp_path / "bars.png")
    assert drawn.read_bytes().startswith(b"\x89PNG")
    width, height = (int.from_bytes(drawn.read_bytes()[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (840, 720)
