"""`python -m ballast.simulator bars`: ours against the rivals tuned in hindsight, cell by cell.

A cell is a mean fleet and a restart median. Every run is kept as a line of JSON in `--results`, so
that a stopped command goes on where it was, and `--show` prints the tables without a run.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, median, stdev

from ballast.simulator.pictures.bars_picture import draw_bars
from ballast.simulator.report import T95, Point, Task, cost_at, play
from ballast.simulator.world.market import read_market

POINTS = {
    "window": ("0.8,300", "0.9,120", "1,120", "1,300", "1.1,120", "1.2,120", "1.2,300"),
    "runpod-delay": ("0.5,300", "1,300", "2,60", "2,300", "4,5", "4,60", "4,300", "6,60"),
    "hpa": ("0.7,300", "0.8,300", "1,120", "1.1,120", "1.2,120", "1.2,300", "1.5,120", "2,120"),
}
POINTS_OF_FLEET = {
    ("window", 2.0): ("0.7,300", "1.5,120", "2,120", "2,300", "3,120"),
    ("window", 8.0): ("0.7,300", "1.3,120", "1.5,120", "2,120", "2,300"),
    ("window", 30.0): ("0.6,300", "0.7,300", "1.05,120", "1.15,120", "1.3,120"),
    ("hpa", 2.0): ("3,120",),
}
"""Knob points that bracket the targets, and more for a fleet; together at most twelve."""

CREATES_FLEET, MOST_CREATES = 8.0, 2.0  # an hour
MOST_DEARER = 0.01

Key = tuple[str, float, float, float, str, str, int]
"""Trace, days, mean fleet, restart median, queue, policy, seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run's figures, as a line of the results holds them."""

    trace: str
    days: float
    fleet: float
    restart_s: float
    queue: str
    policy: str
    seed: int
    within_slo: float
    over_clair: float
    creates_per_hour: float

    @property
    def key(self) -> Key:
        """What was run."""
        return (
            self.trace, self.days, self.fleet, self.restart_s, self.queue, self.policy, self.seed,
        )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Play what is missing, most wanted first, then print the tables."""
    options = _parser().parse_args(arguments)
    runs = read_runs(options.results)
    for key in () if options.show else wanted_keys(options):
        if key not in runs:
            runs[key] = run_one(key, options.trace, options.slots)
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(runs[key])) + "\n")
            print(f"{runs[key]}", file=sys.stderr, flush=True)
    name = Path(options.trace).name
    print("\n".join(tables(runs, name, options.days)))
    mine = [run for run in runs.values() if (run.trace, run.days) == (name, options.days)]
    print("", *verdict(mine), sep="\n")
    if options.picture:
        print(draw_bars(mine, options.picture))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ballast.simulator bars", description=__doc__)
    add = parser.add_argument
    add("--trace", default="synthetic:chat")
    add("--days", type=float, default=3.0)
    add("--fleets", type=float, nargs="+", default=[8.0, 2.0, 30.0])
    add("--restarts", type=float, nargs="+", default=[20.0, 60.0], help="median seconds")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--targets", nargs="*", default=["0.99", "0.95", "0.999"])
    add("--clients", nargs="+", choices=("paced", "sdk"), default=["paced", "sdk"])
    add("--rivals", nargs="*", choices=tuple(POINTS), default=list(POINTS))
    add("--slots", type=int, default=8)
    add("--results", type=Path, default=Path("bars.jsonl"))
    add("--show", action="store_true", help="print the tables of what is there")
    add("--picture", type=Path, help="draw the cells into this file")
    return parser


def read_runs(path: Path) -> dict[Key, Run]:
    """The runs that a results file holds."""
    lines = path.read_text().splitlines() if path.exists() else []
    runs = [Run(**json.loads(line)) for line in lines]
    return {run.key: run for run in runs}


def wanted_keys(options: argparse.Namespace) -> Iterator[Key]:
    """All runs of the table, cell by cell, seed by seed."""
    ours = [(clients, f"ballast:{x}") for x in options.targets for clients in options.clients]
    name = Path(options.trace).name
    for restart, fleet, seed in product(options.restarts, options.fleets, options.seeds):
        rivals = [("early", f"{x}:{knob}") for x in options.rivals for knob in points_of(x, fleet)]
        for queue, policy in [*ours, *rivals]:
            yield name, options.days, fleet, restart, queue, policy, seed


def points_of(rival: str, fleet: float) -> tuple[str, ...]:
    """The points at which a rival is played at a mean fleet."""
    return POINTS[rival] + POINTS_OF_FLEET.get((rival, fleet), ())


def run_one(key: Key, trace: str, slots: int) -> Run:
    """Play one run of the table."""
    name, days, fleet, restart_s, queue, policy, seed = key
    task = Task(
        trace=trace,
        load_column="auto",
        days=days,
        fleet=fleet,
        market=read_market(start_median_s=restart_s, slots=slots),
        queue=queue,
        slo_wait_s=10.0,
        slo_target=0.99,
        round_s=5.0,
    )
    score, over_clair, _ = play(task, policy, queue, seed)
    return Run(
        trace=name,
        days=days,
        fleet=fleet,
        restart_s=restart_s,
        queue=queue,
        policy=policy,
        seed=seed,
        within_slo=round(score.within_slo, 5),
        over_clair=round(over_clair, 4),
        creates_per_hour=round(score.creates_per_hour, 2),
    )


def tables(runs: dict[Key, Run], trace: str, days: float) -> list[str]:
    """Markdown: ours against each rival at equal attainment, then the rivals' points."""
    mine = [run for run in runs.values() if run.trace == trace and run.days == days]
    cells = sorted({(run.fleet, run.restart_s) for run in mine})
    lines = [
        "| fleet | restart | target, clients | seeds | on time | cost | creates/h | "
        + " | ".join(f"against {name}" for name in POINTS)
        + " |",
        "|---|---|---|---|---|---|---|" + "---|" * len(POINTS),
    ]
    for fleet, restart_s in cells:
        cell = [run for run in mine if (run.fleet, run.restart_s) == (fleet, restart_s)]
        lines += _our_lines(cell, f"| {fleet:g} | {restart_s:g} s")
    lines += [
        "",
        "| fleet | restart | rival | seeds | on time | cost |",
        "|---|---|---|---|---|---|",
    ]
    for fleet, restart_s in cells:
        cell = [run for run in mine if (run.fleet, run.restart_s) == (fleet, restart_s)]
        for (policy,), of_policy in _by(cell, "policy"):
            if not policy.startswith("ballast"):
                lines.append(f"| {fleet:g} | {restart_s:g} s | {policy} | {_figures(of_policy)} |")
    return lines


def _our_lines(cell: list[Run], head: str) -> list[str]:
    lines = []
    for (policy, queue), ours in _by(cell, "policy", "queue"):
        if policy.startswith("ballast"):
            creates = fmean(run.creates_per_hour for run in ours)
            against = " | ".join(_against(name, ours, cell) for name in POINTS)
            target = f"{float(policy.partition(':')[2]):.1%}, {queue}"
            lines.append(f"{head} | {target} | {_figures(ours)} | {creates:.2f} | {against} |")
    return lines


def _by(runs: list[Run], *names: str) -> list[tuple[tuple[str, ...], list[Run]]]:
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(tuple(getattr(run, name) for name in names), []).append(run)
    return sorted(groups.items())


def _figures(runs: list[Run]) -> str:
    on_time, cost = fmean(r.within_slo for r in runs), fmean(r.over_clair for r in runs)
    return f"{len(runs)} | {100 * on_time:.2f} % | {cost:.3f}"


def _against(rival: str, ours: list[Run], cell: list[Run]) -> str:
    """Mean over the seeds of our cost over the rival's at our attainment, with its interval."""
    ratios = _ratios(rival, ours, cell)
    if not ratios:
        return "-"
    text = f"{fmean(ratios):+.1%}"
    return text + f" ± {100 * _margin(ratios):.1f}" if len(ratios) > 1 else text


def _margin(values: list[float]) -> float:
    """Half of the 95 % interval of their mean."""
    return T95.get(len(values) - 1, 2.0) * stdev(values) / math.sqrt(len(values))


def verdict(runs: Iterable[Run]) -> list[str]:
    """The bars over all cells: medians by kind of client and rival, and what breaks a limit."""
    by_cell = _by(list(runs), "fleet", "restart_s")
    lines = [
        f"median, {clients} clients, against {name}: {_median(by_cell, name, clients)}"
        for clients in ("paced", "sdk")
        for name in POINTS
    ]
    for (fleet, restart_s), cell in by_cell:
        for (policy, clients), ours in _by(cell, "policy", "queue"):
            if policy.startswith("ballast"):
                found = [*_beyond(policy, ours), *_dearer(ours, cell)]
                lines += [f"fleet {fleet}, {restart_s} s, {policy}, {clients}: {x}" for x in found]
    return lines


def _median(by_cell: list[tuple[tuple[str, ...], list[Run]]], rival: str, clients: str) -> str:
    means = [
        fmean(ratios)
        for _, cell in by_cell
        for (policy, queue), ours in _by(cell, "policy", "queue")
        if policy.startswith("ballast") and queue == clients
        if (ratios := _ratios(rival, ours, cell))
    ]
    return f"{median(means):+.1%} over {len(means)}" if means else "-"


def _beyond(policy: str, ours: list[Run]) -> Iterator[str]:
    target, share = float(policy.partition(":")[2]), fmean(run.within_slo for run in ours)
    if share < target:
        yield f"on time {share:.2%}"
    creates = fmean(run.creates_per_hour for run in ours)
    if ours[0].fleet == CREATES_FLEET and creates > MOST_CREATES:
        yield f"{creates:.2f} creates an hour"


def _dearer(ours: list[Run], cell: list[Run]) -> Iterator[str]:
    for name in POINTS:
        ratios = _ratios(name, ours, cell)
        if len(ratios) > 1 and fmean(ratios) - _margin(ratios) > MOST_DEARER:
            yield f"{fmean(ratios):+.1%} against {name}, outside of the interval"


def _ratios(rival: str, ours: list[Run], cell: list[Run]) -> list[float]:
    ratios = []
    for run in ours:
        points: list[Point] = [
            (other.within_slo, other.over_clair)
            for other in cell
            if other.seed == run.seed and other.policy.startswith(f"{rival}:")
        ]
        cost = cost_at(points, run.within_slo)
        if cost is not None:
            ratios.append(run.over_clair / cost - 1.0)
    return ratios
