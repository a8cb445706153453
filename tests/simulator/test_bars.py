"""The table of bars: it goes on where it was stopped, and compares at equal attainment."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.bars import Run, main, read_runs, tables

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
    assert len(lines) == 9
    results.write_text("\n".join(lines[:-1]) + "\n")
    capsys.readouterr()
    main([*SMALL, str(results)])
    assert capsys.readouterr().err.count("Run(") == 1
    assert results.read_text().splitlines() == lines
    assert len(read_runs(results)) == 9


def test_ours_is_compared_with_the_rivals_line_at_our_attainment_seed_by_seed() -> None:
    runs = [
        run("ballast:0.99", 0.99, 0.95),
        run("ballast:0.99", 0.99, 0.99, seed=1),
        *(run("window:1,120", 0.999, 1.2, seed) for seed in (0, 1)),
        *(run("window:1.2,120", 0.99, 1.0, seed) for seed in (0, 1)),
    ]
    (ours,) = (line for line in tables({r.key: r for r in runs}, "t", 3.0) if "sdk" in line)
    assert "| 99.00 % | 0.970 | 1.50 | -3.0% ± 25.4 | - |" in ours
