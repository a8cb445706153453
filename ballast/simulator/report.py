"""Benchmarks: many runs, side by side on the cores, and their table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from statistics import fmean, stdev

from ballast.simulator.policies import make_policy
from ballast.simulator.reference import clairvoyant_usd, lower_bound_usd
from ballast.simulator.run import Score, Setting, run_policy, warmup_of
from ballast.simulator.world.market import MarketConfig
from ballast.simulator.world.traces import Trace, read_trace

T95 = {1: 12.7, 2: 4.3, 3: 3.18, 4: 2.78}  # Student's t for a 95 % interval, by degrees of freedom


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A benchmark's common part: the trace, the market and how it is played."""

    trace: str
    load_column: str
    days: float | None
    fleet: float
    market: MarketConfig
    queue: str
    slo_wait_s: float
    slo_target: float
    round_s: float
    is_from_start: bool = False  # every request from second 0 counts
    start_day: float = 0.0  # of the trace, where the run begins
    min_load: float = 0.0  # the owner's floor, in reference workers, for all policies alike


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A policy's mean scores over the seeds."""

    policy: str
    queue: str
    score: Score
    over_clair: float
    over_bound: float
    over_clair_margin: float  # half of the 95 % interval over the seeds


@lru_cache(maxsize=1)
def load_trace(
    name: str,
    load_column: str,
    days: float | None,
    fleet: float,
    seed: int | None,
    start_day: float = 0.0,
) -> Trace:
    """A trace scaled to a mean fleet; synthetic ones differ by seed, files have None."""
    trace = read_trace(
        name, load_column=load_column, days=days, start_day=start_day, seed=seed or 0
    )
    return trace.scaled(fleet)


def load_task_trace(task: Task, seed: int) -> Trace:
    """The trace of a task; see load_trace."""
    own_seed = seed if task.trace.startswith("synthetic:") else None
    return load_trace(task.trace, task.load_column, task.days, task.fleet, own_seed, task.start_day)


def play(task: Task, policy: str, queue: str, seed: int) -> tuple[Score, float, float]:
    """One run: (score, cost over CLAIR, cost over the lower bound)."""
    trace = load_task_trace(task, seed)
    since_s = _since_s(task, trace)
    setting = Setting(
        is_from_start=task.is_from_start,
        market=task.market,
        queue=queue,
        seed=seed,
        slo_wait_s=task.slo_wait_s,
        round_s=task.round_s,
    )
    made = make_policy(
        policy,
        slo_target=task.slo_target,
        slo_wait_s=task.slo_wait_s,
        min_load=task.min_load,
        max_workers=task.market.max_workers,
    )
    score = run_policy(trace, made, setting)
    clair = _clair_usd(task, seed)
    bound = lower_bound_usd(trace, task.market, since_s=since_s)
    return score, score.usd / clair, score.usd / bound


@lru_cache(maxsize=4)
def _clair_usd(task: Task, seed: int) -> float:
    trace = load_task_trace(task, seed)
    return clairvoyant_usd(
        trace, task.market, slo_wait_s=task.slo_wait_s, since_s=_since_s(task, trace)
    )


def _since_s(task: Task, trace: Trace) -> float:
    return 0.0 if task.is_from_start else warmup_of(trace)


def run_all(
    task: Task,
    policies: Sequence[str],
    *,
    seeds: int,
    workers: int,
    progress: Callable[[str], None],
) -> list[Row]:
    """Every policy with every seed; `progress` hears of each finished run."""
    jobs = [(policy, seed) for policy in policies for seed in range(seeds)]
    results: dict[tuple[str, int], tuple[Score, float, float]] = {}
    with ProcessPoolExecutor(max_workers=workers) as pool:
        futures = {
            job: pool.submit(play, task, job[0], queue_of(task, job[0]), job[1]) for job in jobs
        }
        for index, (job, future) in enumerate(futures.items()):
            results[job] = future.result()
            progress(f"{index + 1}/{len(jobs)} {job[0]} seed {job[1]}")
    return [
        _row(policy, queue_of(task, policy), [results[policy, seed] for seed in range(seeds)])
        for policy in policies
    ]


def queue_of(task: Task, policy: str) -> str:
    """With `own`, rivals bind early in order, as they do, and ours paces its clients."""
    if task.queue != "own":
        return task.queue
    return "paced" if policy.startswith("ballast") else "early"


def _row(policy: str, queue: str, runs: Sequence[tuple[Score, float, float]]) -> Row:
    scores = [run[0] for run in runs]
    means = {
        spec.name: fmean(getattr(score, spec.name) for score in scores) for spec in fields(Score)
    }
    over = [run[1] for run in runs]
    margin = T95.get(len(over) - 1, 2.0) * stdev(over) / math.sqrt(len(over)) if over[1:] else 0.0
    return Row(
        policy=policy,
        queue=queue,
        score=Score(**means),
        over_clair=fmean(over),
        over_bound=fmean(run[2] for run in runs),
        over_clair_margin=margin,
    )


def start_lines(rows: Sequence[Row]) -> list[str]:
    """The first hour of each policy, a line: from second 0, and from the first ready worker on.

    Beside ours what the rivals' points give for our cost.
    """
    rivals = [row for row in rows if not row.policy.startswith("ballast")]
    return [
        f"{row.policy:24} ready after {row.score.first_ready_s:.0f} s; on time from second 0 "
        f"{100 * row.score.within_slo:.2f} %, from then on "
        f"{100 * row.score.within_slo_ready:.2f} %; "
        f"{row.score.creates_per_hour:.1f} rentals an hour, {row.over_clair:.3f}"
        + ("" if row in rivals or not rivals else f"; {_rivals_for(row.over_clair, rivals)}")
        for row in rows
    ]


def _rivals_for(cost: float, rivals: Sequence[Row]) -> str:
    points = [(r.score.within_slo, r.over_clair, r.score.creates_per_hour) for r in rivals]
    since_ready = [(r.score.within_slo_ready, r.over_clair, 0.0) for r in rivals]
    found, found_ready = attainment_for(cost, points), attainment_for(cost, since_ready)
    if found is None or found_ready is None:
        return "no rival costs as little"
    return (
        f"rivals for that {100 * found[0]:.2f} % and {100 * found_ready[0]:.2f} % "
        f"with {found[1]:.1f} rentals"
    )


HEADER = (
    f"{'policy':24} {'queue':8} {'<=2s':>7} {'<=SLO':>7} {'<=30s':>7} "
    f"{'p50':>6} {'p95':>6} {'p99':>6} "
    f"{'$':>9} {'$/Mload':>9} {'xCLAIR':>7} {'+-':>5} {'xLB':>6} {'GPU-h':>8} {'starts':>7} "
    f"{'new/h':>6} {'lost':>5}"
)


def format_row(row: Row) -> str:
    """One line of the table."""
    s = row.score
    return (
        f"{row.policy:24} {row.queue:8} {100 * s.within_2s:7.2f} {100 * s.within_slo:7.2f} "
        f"{100 * s.within_30s:7.2f} {s.p50_wait_s:6.1f} {s.p95_wait_s:6.1f} {s.p99_wait_s:6.1f} "
        f"{s.usd:9.2f} {s.usd_per_million_load:9.1f} {row.over_clair:7.3f} "
        f"{row.over_clair_margin:5.3f} {row.over_bound:6.3f} {s.gpu_hours:8.1f} {s.starts:7.0f} "
        f"{s.creates_per_hour:6.2f} {s.lost:5.0f}"
    )


def compare_rows(rows: Sequence[Row]) -> list[str]:
    """Our rows against each rival's knob points at equal attainment, a line for each pair."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        law, _, knob = row.policy.partition(":")
        if not law.startswith("ballast") and knob:
            points.setdefault(law, []).append((row.score.within_slo, row.over_clair))
    lines = []
    for row in rows:
        for law, known in sorted(points.items()) if row.policy.startswith("ballast") else ():
            cost = cost_at(known, row.score.within_slo)
            said = "outside of its points" if cost is None else f"{row.over_clair / cost - 1:+.1%}"
            lines.append(f"{row.policy} against {law} at {row.score.within_slo:.2%}: {said}")
    return lines


def row_to_json(row: Row) -> dict[str, object]:
    """A row as plain values."""
    return {
        "policy": row.policy,
        "queue": row.queue,
        "cost_over_clair": row.over_clair,
        "cost_over_clair_margin_95": row.over_clair_margin,
        "cost_over_lower_bound": row.over_bound,
        **asdict(row.score),
    }


# A rival's cost at equal attainment: read off the line through its best knob points.

Point = tuple[float, float]
"""Share of requests on time, cost."""

LEAST_LATE = 1e-5


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in both, by attainment."""
    best: list[Point] = []
    for share, cost in sorted(points, key=lambda p: (-p[0], p[1])):
        if not best or cost < best[-1][1]:
            best.append((share, cost))
    return best[::-1]


def cost_at(points: Sequence[Point], share: float) -> float | None:
    """Cost at an attainment, interpolated in the logarithm of the late share.

    Below the line but not below all points its cheapest one counts, which is on time more often.
    None outside of the points: neither a bargain nor a miss is made up from there.
    """
    line = frontier(points)
    if not line or not min(points)[0] <= share <= line[-1][0]:
        return None
    if share <= line[0][0]:
        return line[0][1]
    upper = next(i for i, point in enumerate(line) if point[0] >= share)
    (low, low_cost), (high, high_cost) = line[upper - 1], line[upper]
    part = (_nines(share) - _nines(low)) / (_nines(high) - _nines(low))
    return low_cost + part * (high_cost - low_cost)


def attainment_for(
    cost: float, points: Sequence[tuple[float, float, float]]
) -> tuple[float, float] | None:
    """(attainment, rentals) for a cost, of points (attainment, cost, rentals).

    On the line through the best points, as `cost_at`; beyond the dearest of them as there. None
    below the cheapest.
    """
    rentals = {(share, usd): n for share, usd, n in points}
    line = frontier(list(rentals))
    if not line or cost < line[0][1]:
        return None
    below = [point for point in line if point[1] <= cost]
    low, high = below[-1], line[min(len(below), len(line) - 1)]
    part = (cost - low[1]) / (high[1] - low[1]) if high != low else 0.0
    nines = _nines(low[0]) + part * (_nines(high[0]) - _nines(low[0]))
    n = rentals[low] + part * (rentals[high] - rentals[low])
    return 1.0 - math.exp(-nines), n


def _nines(share: float) -> float:
    return -math.log(max(1.0 - share, LEAST_LATE))
