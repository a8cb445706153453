"""`python -m ballast.simulator bids`: interruptible machines against none and against rivals.

All policies of a cell and seed see the same market and the same losses: a trace of availability
(`--losses PATH[:ZONE,…]`, its zones as groups of hosts), or `model`, other bidders and renters made
up, whose stays are as uneven as the trace's; with `memoryless` no stay tells how long it will last.
Every run is kept as a line of JSON in `--results`; `--show` prints the table without a run.
Costs are compared at equal attainment: on the line through a rival's best points.
`--coarse 4` plays four times as fast: every fourth request, four times as large, at a quarter of
the slots, and so as long; rounds of 20 s.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean

from ballast.simulator.policies import make_policy
from ballast.simulator.report import Point, cost_at, load_trace
from ballast.simulator.run import Setting, run_policy
from ballast.simulator.world.market import read_market

RIVALS = ("spothedge", "all-spot")
POINTS = (
    "0.9,120,1", "1,120,1", "1.1,120,0", "1.2,120,0", "1.2,120,1", "1.3,120,0", "1.5,120,0",
)  # fmt: skip
"""u, W and num_overprovision: what "tuned in hindsight" may choose from."""

HEADER = (
    "| losses | price | fleet | restart | target | seeds | on time | over on demand | creates | "
    "streams broken | at bids | against spothedge | against all-spot |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run's figures, as a line of the results holds them."""

    trace: str
    days: float
    losses: str
    ratio: float
    fleet: float
    restart_s: float
    policy: str
    seed: int
    within_slo: float
    usd: float
    creates_per_hour: float
    taken: float
    broken: float
    bid_share: float
    lost: float

    @property
    def cell(self) -> tuple[str, float, str, float, float, float]:
        """What is compared with each other."""
        return (
            self.trace, self.days, self.losses, self.ratio, self.fleet, self.restart_s,
        )  # fmt: skip


def main(arguments: list[str]) -> int:
    """Play what is missing, then print the table."""
    options = _parser().parse_args(arguments)
    runs = read_runs(options.results)
    known = {(run.cell, run.policy, run.seed) for run in runs}
    for cell, policy, seed in () if options.show else wanted(options):
        if (cell, policy, seed) in known:
            continue
        run = play(options, cell, policy, seed)
        runs.append(run)
        with options.results.open("a") as file:
            file.write(json.dumps(asdict(run)) + "\n")
        print(run, file=sys.stderr, flush=True)
    print("\n".join([HEADER, *table(runs)]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ballast.simulator bids", description=__doc__)
    add = parser.add_argument
    add("--trace", default="synthetic:chat")
    add("--days", type=float, default=2.0)
    add("--losses", nargs="+", default=["model"])
    add("--ratios", type=float, nargs="+", default=[0.5], help="bid over the price on demand")
    add("--fleets", type=float, nargs="+", default=[8.0])
    add("--restarts", type=float, nargs="+", default=[20.0], help="median seconds")
    add("--targets", nargs="+", default=["0.99"])
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--modes", nargs="+", default=["mixed"], help="of mixed, overflow")
    add("--rivals", nargs="*", choices=RIVALS, default=list(RIVALS))
    add("--coarse", type=int, choices=(1, 2, 4, 8), default=1, help="every such request only")
    add("--results", type=Path, default=Path("bids.jsonl"))
    add("--show", action="store_true", help="print the table of what is there")
    return parser


def read_runs(path: Path) -> list[Run]:
    """The runs that a results file holds."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Run(**json.loads(line)) for line in lines]


def wanted(
    options: argparse.Namespace,
) -> Iterator[tuple[tuple[str, float, str, float, float, float], str, int]]:
    """All runs of the table, cell by cell, seed by seed, ours first."""
    name = Path(options.trace).name + (f" / {options.coarse}" if options.coarse > 1 else "")
    for losses, ratio, fleet, restart_s, seed in product(
        options.losses, options.ratios, options.fleets, options.restarts, options.seeds
    ):
        cell = (name, options.days, _short(losses), ratio, fleet, restart_s)
        for target in options.targets:
            yield cell, f"ballast:{target}", seed
            for mode in options.modes:
                yield cell, f"ballast-{mode}:{target}", seed
        for rival, point in product(options.rivals, POINTS):
            yield cell, f"{rival}:{point}", seed


def _short(losses: str) -> str:
    return Path(losses).name


def play(
    options: argparse.Namespace,
    cell: tuple[str, float, str, float, float, float],
    policy: str,
    seed: int,
) -> Run:
    """Play one run."""
    name, days, short, ratio, fleet, restart_s = cell
    losses = next(item for item in options.losses if _short(item) == short)
    is_synthetic = options.trace.startswith("synthetic:")
    trace = load_trace(options.trace, "auto", days, fleet, seed if is_synthetic else None)
    n, market = options.coarse, read_market(start_median_s=restart_s, bid_ratio=ratio)
    trace = replace(trace, times=trace.times[::n], loads=trace.loads[::n]).scaled(fleet)
    setting = Setting(
        market=replace(market, slots=market.slots // n),
        round_s=min(5.0 * n, 20.0),
        queue="paced" if policy.startswith("ballast") else "early",
        seed=seed,
        losses=losses,
    )
    score = run_policy(trace, make_policy(policy), setting)
    return Run(
        trace=name,
        days=days,
        losses=short,
        ratio=ratio,
        fleet=fleet,
        restart_s=restart_s,
        policy=policy,
        seed=seed,
        within_slo=round(score.within_slo, 5),
        usd=round(score.usd, 3),
        creates_per_hour=round(score.creates_per_hour, 3),
        taken=score.taken,
        broken=round(score.broken, 6),
        bid_share=round(score.bid_share, 3),
        lost=score.lost,
    )


def table(runs: list[Run]) -> list[str]:
    """A line for each of our policies in each cell, means over the seeds."""
    lines = []
    for cell in sorted({run.cell for run in runs}):
        inside = [run for run in runs if run.cell == cell]
        _, _, losses, ratio, fleet, restart_s = cell
        for policy in sorted({r.policy for r in inside if r.policy.startswith("ballast-")}):
            ours = [run for run in inside if run.policy == policy]
            target = policy.partition(":")[2]
            base = {r.seed: r for r in inside if r.policy == f"ballast:{target}"}
            pairs = [(run, base[run.seed]) for run in ours if run.seed in base]
            if not pairs:
                continue
            mode = policy.partition(":")[0].removeprefix("ballast-")
            against = " | ".join(_against(rival, ours, inside) for rival in RIVALS)
            lines.append(
                f"| {losses} | {ratio:g} | {fleet:g} | {restart_s:g} s | {float(target):.1%}, "
                f"{mode} | {len(pairs)} | {fmean(r.within_slo for r in ours):.2%} "
                f"(on demand {fmean(b.within_slo for _, b in pairs):.2%}) | "
                f"{fmean(r.usd / b.usd for r, b in pairs):.3f} | "
                f"{_ratio([(r.creates_per_hour, b.creates_per_hour) for r, b in pairs])} | "
                f"{fmean(r.broken for r in ours):.5f} | {fmean(r.bid_share for r in ours):.0%} | "
                f"{against} |"
            )
    return lines


def _ratio(pairs: list[tuple[float, float]]) -> str:
    return f"{fmean(a / b for a, b in pairs if b):.2f}x" if any(b for _, b in pairs) else "-"


def _against(rival: str, ours: list[Run], inside: list[Run]) -> str:
    """Mean of our cost over the rival's at our attainment; `-` where it reaches that nowhere."""
    ratios = []
    for run in ours:
        points: list[Point] = [
            (other.within_slo, other.usd)
            for other in inside
            if other.seed == run.seed and other.policy.startswith(f"{rival}:")
        ]
        cost = cost_at(points, run.within_slo)
        if cost is not None:
            ratios.append(run.usd / cost)
    return f"{fmean(ratios):.3f}" if ratios else "-"
