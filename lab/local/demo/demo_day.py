"""A day of a real service, simulated in seconds: what Ballast and fixed fleets would cost.

Hours are as in the service's own day; within an hour requests come at random, with sizes drawn from
the demo's trace, all seeded: whoever runs this sees the same figures.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ballast.simulator.ours import BallastPolicy
from ballast.simulator.rivals.pool import give_up_stuck, match_hot, match_total
from ballast.simulator.run import Score, Setting, run_policy
from ballast.simulator.world.market import read_market
from ballast.simulator.world.traces import DAY_S, Trace
from ballast.simulator.world.world import Policy, World
from lab.local.demo.demo_trace import TraceRequest, read_trace

DAY = Path(__file__).parents[1] / "data" / "burstgpt_day.csv"
HOUR_S = 3_600.0
TIMES_THE_REQUESTS = 5  # a request of such a service lasts seconds then, as real ones do
MEAN_FLEET = 4.0  # machines that the day needs in the mean
LARGEST_FLEET = 16  # four times the mean; the day's busiest hour has three times the mean


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """What the day cost. `fixed`: the smallest fleet of `n_fixed` that is on time as often."""

    n_requests: int
    ours: Score
    n_fixed: int
    fixed: Score

    @property
    def saved_share(self) -> float:
        """What was not spent of the fixed fleet's dollars."""
        return 1.0 - self.ours.usd / self.fixed.usd


@dataclass(frozen=True, slots=True)
class FixedFleet:
    """As many machines, on all the time, and none in reserve; a lost one is replaced."""

    n_machines: int

    def round(self, world: World, now: float) -> None:
        """Keep them."""
        give_up_stuck(world, now)
        match_hot(world, self.n_machines)
        match_total(world, self.n_machines, now)


def read_day(path: Path = DAY) -> list[int]:
    """Requests in each of the 24 hours."""
    with path.open(newline="") as file:
        return [int(row["requests"]) for row in csv.DictReader(file)]


def trace_of(hours: Sequence[int], sizes: Sequence[TraceRequest], rng: random.Random) -> Trace:
    """Requests of a day with this many in each hour, of sizes drawn from `sizes`."""
    times = [
        HOUR_S * hour + at
        for hour, n_requests in enumerate(hours)
        for at in sorted(rng.uniform(0.0, HOUR_S) for _ in range(n_requests * TIMES_THE_REQUESTS))
    ]
    loads = [float(rng.choice(sizes).load) for _ in times]
    whole = Trace(name=DAY.name, times=times, loads=loads, duration_s=DAY_S)
    return whole.scaled(MEAN_FLEET)


def simulate_day(seed: int = 0) -> Day:
    """Play the day under Ballast, then under ever smaller fixed fleets while they are as good."""
    trace = trace_of(read_day(), read_trace(), random.Random(f"day:{seed}"))
    setting = Setting(market=read_market(), queue="paced", seed=seed)

    def play(policy: Policy) -> Score:
        return run_policy(trace, policy, setting)

    ours = play(BallastPolicy())
    n_fixed, fixed = LARGEST_FLEET, play(FixedFleet(LARGEST_FLEET))
    for n_machines in range(LARGEST_FLEET - 1, 0, -1):
        smaller = play(FixedFleet(n_machines))
        if smaller.within_slo < ours.within_slo:
            break
        n_fixed, fixed = n_machines, smaller
    return Day(n_requests=len(trace.times), ours=ours, n_fixed=n_fixed, fixed=fixed)
