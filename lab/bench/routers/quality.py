"""`python -m lab.bench quality`: many routers on one shared, stale view against one that knows all.

Means over several seeds of `ballast/simulator/routed/routing.py`, in which every router chooses by
the product's own `RoutingTable`. Virtual time; nothing runs on AWS.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from statistics import mean

from ballast.simulator.routed.routing import RoutingCase, compare


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A scene of performance.md and its budgets, as ratios to `fresh`; None: it sets none."""

    n_workers: int
    n_routers: int
    max_attempts: float | None = None
    max_late_ratio: float | None = None
    max_mean_ratio: float | None = None


SCENES = (
    Scene(n_workers=10, n_routers=20, max_attempts=1.3, max_late_ratio=2.0),
    Scene(n_workers=100, n_routers=100, max_mean_ratio=1.3),
)


def measure(case: RoutingCase) -> dict[str, float]:
    """One paired run."""
    fresh, ours = compare(case, ("fresh", "ours"))
    return {
        "fresh_late_share": fresh.late_share,
        "late_share": ours.late_share,
        "fresh_mean_wait_s": fresh.mean_wait_s,
        "mean_wait_s": ours.mean_wait_s,
        "attempts_per_grant": ours.attempts_per_grant,
    }


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Means over the runs, and the ratios of the means."""
    figures = {name: mean(run[name] for run in runs) for name in runs[0]}
    if figures["fresh_late_share"] > 0:
        figures["late_ratio"] = figures["late_share"] / figures["fresh_late_share"]
    figures["mean_ratio"] = figures["mean_wait_s"] / figures["fresh_mean_wait_s"]
    return figures


def misses(scene: Scene, figures: dict[str, float]) -> list[str]:
    """The figures above their budgets."""
    budgets = {
        "attempts_per_grant": scene.max_attempts,
        "late_ratio": scene.max_late_ratio,
        "mean_ratio": scene.max_mean_ratio,
    }
    return [
        name
        for name, budget in budgets.items()
        if budget is not None and figures.get(name, 0.0) > budget
    ]


def main(argv: list[str]) -> int:
    """Run both scenes over the seeds and print the means; the exit code is 1 over a budget."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench quality", description=__doc__)
    add = parser.add_argument
    add("--requests", type=int, default=40_000, help="per seed")
    add("--seeds", type=int, default=10)
    add("--first-seed", type=int, default=0)
    add("--load", type=float, default=0.8)
    add("--view-every", type=float, default=1.0, help="seconds; routers read it once a second")
    add("--json", action="store_true")
    options = parser.parse_args(argv)
    report = {}
    missed = []
    for scene in SCENES:
        runs = [
            measure(
                RoutingCase(
                    n_routers=scene.n_routers,
                    n_workers=scene.n_workers,
                    load=options.load,
                    view_every_s=options.view_every,
                    n_requests=options.requests,
                    seed=options.first_seed + i,
                ),
            )
            for i in range(options.seeds)
        ]
        figures = summary(runs)
        missed += misses(scene, figures)
        report[f"{scene.n_workers} workers, {scene.n_routers} routers"] = figures
    if options.json:
        print(json.dumps(report, indent=1))
        return int(bool(missed))
    for name, figures in report.items():
        print(name)
        for figure, value in figures.items():
            print(f"  {figure:<20} {value:10.5f}")
    return int(bool(missed))
