"""`python -m bench quality`: many routers on one shared, stale view against one that knows all.

A fleet of unequal workers serves requests one after another; every router chooses by the very
`RoutingTable` of the product and reserves on shared rows. The rival is the shortest expected finish
on fresh knowledge. Both see the same arrivals. Virtual time; nothing runs on AWS.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, field
from statistics import mean

from chalicelib.core.least_finish import Choice, RoutableWorker, Wish
from chalicelib.core.routing import AutogroupFacts, RoutingTable
from chalicelib.services.router_memory import VIEW_CACHE_S

MAX_TRIES = 3
LATE_S = 10.0
MEAN_SERVICE_S = 4.0  # of a request on the slowest worker
SIGMA = 1.0  # of the lognormal sizes


@dataclass(slots=True)
class Row:
    """A worker as the database knows it, and what it really has to do."""

    instance_id: int
    perf: float
    granted_load: float = 0.0
    free_at: float = 0.0

    def take(self, cost: float, now: float) -> float:
        """Queue a request; its wait in seconds."""
        wait_s = max(0.0, self.free_at - now)
        self.free_at = max(self.free_at, now) + cost / self.perf
        self.granted_load += cost
        return wait_s


@dataclass(slots=True)
class Outcome:
    """What one policy came to."""

    waits_s: list[float] = field(default_factory=list)
    n_attempts: int = 0

    @property
    def late_share(self) -> float:
        """Share of requests that waited more than `LATE_S`."""
        return sum(w > LATE_S for w in self.waits_s) / len(self.waits_s)

    @property
    def mean_wait_s(self) -> float:
        """Mean wait."""
        return mean(self.waits_s)


def make_fleet(n_workers: int, rng: random.Random) -> list[Row]:
    """Workers whose speeds differ up to threefold."""
    return [Row(i + 1, 100.0 * rng.uniform(1, 3)) for i in range(n_workers)]


def make_arrivals(
    fleet: list[Row], load: float, n_requests: int, rng: random.Random
) -> list[tuple[float, float]]:
    """(time, cost) of Poisson arrivals with lognormal costs, at a share of the capacity."""
    mean_cost = 100.0 * MEAN_SERVICE_S
    rate = load * sum(w.perf for w in fleet) / mean_cost
    now, arrivals = 0.0, []
    for _ in range(n_requests):
        now += rng.expovariate(rate)
        arrivals.append((now, mean_cost * rng.lognormvariate(-SIGMA * SIGMA / 2, SIGMA)))
    return arrivals


def serve_fresh(fleet: list[Row], arrivals: list[tuple[float, float]]) -> Outcome:
    """The rival: one router that knows everything."""
    outcome = Outcome()
    for now, cost in arrivals:
        best = min(fleet, key=lambda w: max(w.free_at, now) + cost / w.perf)
        outcome.waits_s.append(best.take(cost, now))
    return outcome


def serve_stale(
    fleet: list[Row],
    arrivals: list[tuple[float, float]],
    n_routers: int,
    view_every_s: float,
    rng: random.Random,
) -> Outcome:
    """The product: routers that share a view, each with its own grants and corrections on top."""
    outcome = Outcome()
    grants_per_s = len(arrivals) / arrivals[-1][0]
    view = _view(fleet, 0.0, grants_per_s)
    tables = [_table(view, None, 0.0) for _ in range(n_routers)]
    read_at = [rng.uniform(-VIEW_CACHE_S, 0.0) for _ in range(n_routers)]
    for now, cost in arrivals:
        if now - view.built_at >= view_every_s:
            view = _view(fleet, now, grants_per_s)
        i = rng.randrange(n_routers)
        if now - read_at[i] >= VIEW_CACHE_S:  # at a request, as the hot function does
            read_at[i], tables[i] = now, _table(view, tables[i], now)
        _grant(tables[i], fleet, outcome, (now, cost), rng)
    return outcome


def _grant(
    table: RoutingTable,
    fleet: list[Row],
    outcome: Outcome,
    arrival: tuple[float, float],
    rng: random.Random,
) -> None:
    now, cost = arrival
    wish = Wish(cost=cost, bound_s=float("inf"), dice=rng.random())
    for n_try in range(MAX_TRIES + 1):
        choice = table.choose(wish, now)
        if not isinstance(choice, Choice):
            raise TypeError("no worker to choose from")
        row = fleet[choice.worker.instance_id - 1]
        outcome.n_attempts += 1
        if n_try < MAX_TRIES and row.granted_load > choice.bound:
            table.correct(choice.worker, row.granted_load, now)
            continue
        outcome.waits_s.append(row.take(cost, now))
        table.granted(choice.worker, cost, row.granted_load, now)
        return


@dataclass(frozen=True, slots=True)
class View:
    """What the routers read: (id, perf, free at, granted load) of each worker."""

    built_at: float
    rows: list[tuple[int, float, float, float]]
    grants_per_s: float


def _view(fleet: list[Row], now: float, grants_per_s: float) -> View:
    rows = [(w.instance_id, w.perf, max(w.free_at, now), w.granted_load) for w in fleet]
    return View(now, rows, grants_per_s)


def _table(view: View, older: RoutingTable | None, now: float) -> RoutingTable:
    workers = [
        RoutableWorker(
            instance_id=instance_id,
            autogroup_index=0,
            perf=perf,
            usd_per_hour=perf / 300,
            free_at=free_at,
            granted_load=granted_load,
            known_at=view.built_at,
        )
        for instance_id, perf, free_at, granted_load in view.rows
    ]
    table = RoutingTable(
        (AutogroupFacts(autogroup_id=1),),
        workers,
        built_at=view.built_at,
        grants_per_s=view.grants_per_s,
    )
    if older is not None:
        table.carry_over(older, now)
    return table


def compare(
    n_workers: int, n_routers: int, *, load: float, n_requests: int, view_every_s: float, seed: int
) -> dict[str, float]:
    """One paired run."""
    rng = random.Random(seed)
    fleet = make_fleet(n_workers, rng)
    arrivals = make_arrivals(fleet, load, n_requests, rng)
    fresh = serve_fresh([Row(w.instance_id, w.perf) for w in fleet], arrivals)
    stale = serve_stale(fleet, arrivals, n_routers, view_every_s, rng)
    return {
        "fresh_late_share": fresh.late_share,
        "late_share": stale.late_share,
        "fresh_mean_wait_s": fresh.mean_wait_s,
        "mean_wait_s": stale.mean_wait_s,
        "attempts_per_grant": stale.n_attempts / len(stale.waits_s),
    }


SCENES = ((10, 20), (100, 100))
"""(workers, routers) of design.md section 9."""


def main(argv: list[str]) -> int:
    """Run both scenes over several seeds and print the ratios."""
    parser = argparse.ArgumentParser(prog="bench quality", description=__doc__)
    parser.add_argument("--requests", type=int, default=60_000, help="per seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--load", type=float, default=0.8)
    parser.add_argument(
        "--view-every", type=float, default=1.0, help="seconds; routers read it once a second"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    report = {}
    for n_workers, n_routers in SCENES:
        runs = [
            compare(
                n_workers,
                n_routers,
                load=options.load,
                n_requests=options.requests,
                view_every_s=options.view_every,
                seed=seed,
            )
            for seed in range(options.seeds)
        ]
        figures = {name: mean(run[name] for run in runs) for name in runs[0]}
        if figures["fresh_late_share"] > 0:
            figures["late_ratio"] = figures["late_share"] / figures["fresh_late_share"]
        figures["mean_ratio"] = figures["mean_wait_s"] / figures["fresh_mean_wait_s"]
        report[f"{n_workers} workers, {n_routers} routers"] = figures
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    for scene, figures in report.items():
        print(scene)
        for name, value in figures.items():
            print(f"  {name:<20} {value:10.4f}")
    return 0
