"""`python -m ballast.simulator routing`: routing policies, many stateless routers, one stale view.

Workers serve one request after the other at speeds 1 to 3; sizes are lognormal, four seconds on the
slowest in the mean. A shared view of all workers is built every `--view-every` seconds; a router
reads it at a request when its copy is a second old, as the hot function does. Ours drives the
product's own `RoutingTable`: a reservation is refused when others granted too much meanwhile. The
measure is one router that knows everything (`fresh`). `python -m lab.bench quality` takes its
means.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from chalicelib.core.routing.choice import Criteria
from chalicelib.core.routing.pool import RoutableWorker
from chalicelib.core.routing.table import AutogroupFacts, RoutingTable
from chalicelib.services.routing.memory import VIEW_CACHE_S
from chalicelib.services.routing.route import MAX_TRIES

SLOW_S, LATE_S = 2.0, 10.0
POLICIES = ("fresh", "ours", "two-choices", "round-robin", "random", "stale")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingCase:
    """One comparison's size; `size_sigma` of the log size."""

    n_routers: int = 20
    n_workers: int = 10
    load: float = 0.8
    view_every_s: float = 1.0
    n_requests: int = 100_000
    mean_size_s: float = 4.0
    size_sigma: float = 1.0
    seed: int = 0

    def speeds(self) -> list[float]:
        """Of the workers, the slowest first."""
        return [1.0 + 2.0 * i / max(self.n_workers - 1, 1) for i in range(self.n_workers)]

    @property
    def requests_per_s(self) -> float:
        """What arrives."""
        return self.load * sum(self.speeds()) / self.mean_size_s


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingScore:
    """What a policy scored."""

    policy: str
    slow_share: float
    late_share: float
    mean_wait_s: float
    p99_wait_s: float
    attempts_per_grant: float


@dataclass(slots=True)
class Server:
    """A worker's truth: when it will be free, and all load it was ever granted."""

    number: int
    perf: float
    free_at: float = 0.0
    granted_load: float = 0.0

    def take(self, arrival: Arrival) -> float:
        """Queue a request; its wait in seconds."""
        start = max(self.free_at, arrival.now)
        self.free_at = start + arrival.cost / self.perf
        self.granted_load += arrival.cost
        return start - arrival.now


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A request, and the router that it comes to."""

    number: int
    router: int
    cost: float
    now: float


@dataclass(slots=True)
class Shared:
    """The workers, and the view that all routers read."""

    servers: list[Server]
    requests_per_s: float
    built_at: float = -math.inf
    view: list[tuple[float, float]] = field(default_factory=list)  # (free_at, granted_load)

    def rebuild_if_due(self, now: float, every_s: float) -> None:
        """Build the view anew once it is `every_s` old."""
        if now - self.built_at >= every_s:
            self.built_at = now
            self.view = [(max(s.free_at, now), s.granted_load) for s in self.servers]

    def routable(self) -> list[RoutableWorker]:
        """The workers as the view has them."""
        return [
            RoutableWorker(
                instance_id=server.number,
                autogroup_index=0,
                perf=server.perf,
                usd_per_hour=server.perf,
                free_at=free_at,
                granted_load=granted,
                known_at=self.built_at,
            )
            for server, (free_at, granted) in zip(self.servers, self.view, strict=True)
        ]


@dataclass(slots=True)
class Router:
    """A router's copy of the view, and what it learned since."""

    read_at: float
    built_at: float = -math.inf
    view: list[tuple[float, float]] = field(default_factory=list)
    table: RoutingTable | None = None

    def refresh(self, shared: Shared, now: float, *, is_ours: bool) -> None:
        """Read the view if the copy is too old; ours makes a table of it."""
        if self.view and now - self.read_at < VIEW_CACHE_S:
            return
        self.read_at = now if self.view else self.read_at
        if shared.built_at == self.built_at:
            return
        self.built_at, self.view = shared.built_at, shared.view
        if is_ours:
            self._renew_table(shared, now)

    def _renew_table(self, shared: Shared, now: float) -> None:
        table = RoutingTable(
            [AutogroupFacts(autogroup_id=1)],
            shared.routable(),
            built_at=shared.built_at,
            grants_per_s=shared.requests_per_s,
        )
        if self.table is not None:
            table.carry_over(self.table, now)
        self.table = table


def compare(case: RoutingCase, policies: Sequence[str] = POLICIES) -> list[RoutingScore]:
    """Every policy on the same requests."""
    return [play(case, policy) for policy in policies]


def arrivals(case: RoutingCase, rng: random.Random) -> Iterator[Arrival]:
    """The case's requests, one after the other, each at a router drawn at random."""
    mu, now = math.log(case.mean_size_s) - case.size_sigma**2 / 2, 0.0
    for number in range(case.n_requests):
        now += rng.expovariate(case.requests_per_s)
        cost = math.exp(mu + case.size_sigma * rng.gauss(0, 1))
        yield Arrival(number=number, router=rng.randrange(case.n_routers), cost=cost, now=now)


def play(case: RoutingCase, policy: str) -> RoutingScore:
    """One policy on the case's requests."""
    rng = random.Random(f"routing:{case.seed}")
    servers = [Server(i, speed) for i, speed in enumerate(case.speeds())]
    shared = Shared(servers, case.requests_per_s)
    routers = [Router(read_at=-VIEW_CACHE_S * rng.random()) for _ in range(case.n_routers)]
    dice = random.Random(f"dice:{case.seed}:{policy}")
    waits: list[float] = []
    attempts = 0
    for arrival in arrivals(case, rng):
        now = arrival.now
        shared.rebuild_if_due(now, case.view_every_s)
        router = routers[arrival.router]
        router.refresh(shared, now, is_ours=policy == "ours")
        if policy == "ours":
            server, tries = _ours(router, servers, arrival, dice)
        else:
            server, tries = _simple(policy, router, servers, arrival, dice), 1
        attempts += tries
        waits.append(server.take(arrival))
    waits.sort()
    return RoutingScore(
        policy=policy,
        slow_share=sum(wait > SLOW_S for wait in waits) / len(waits),
        late_share=sum(wait > LATE_S for wait in waits) / len(waits),
        mean_wait_s=sum(waits) / len(waits),
        p99_wait_s=waits[int(0.99 * len(waits))],
        attempts_per_grant=attempts / len(waits),
    )


def _ours(
    router: Router, servers: Sequence[Server], arrival: Arrival, dice: random.Random
) -> tuple[Server, int]:
    """(the worker, reservations tried), as `services/routing/route.py` does it."""
    table, cost, now = router.table, arrival.cost, arrival.now
    for n_try in range(MAX_TRIES + 1):
        criteria = Criteria(cost=cost, bound_s=math.inf, dice=dice.random())
        choice = table.choose(criteria, now) if table is not None else None
        if table is None or choice is None:
            break
        server = servers[choice.worker.instance_id]
        if server.granted_load <= choice.bound or n_try == MAX_TRIES:
            table.granted(choice.worker, cost, server.granted_load + cost, now)
            return server, n_try + 1
        table.correct(choice.worker, server.granted_load, now)
    raise ValueError("a routing table without workers")


def _simple(
    policy: str,
    router: Router,
    servers: list[Server],
    arrival: Arrival,
    dice: random.Random,
) -> Server:
    """The policies to compare with; all but `fresh` look at the router's copy only."""
    cost, now = arrival.cost, arrival.now
    if policy == "round-robin":
        return servers[arrival.number % len(servers)]
    if policy == "random":
        return dice.choices(servers, weights=[server.perf for server in servers])[0]
    if policy == "fresh":
        return min(servers, key=lambda s: max(s.free_at - now, 0.0) + cost / s.perf)
    candidates = servers
    if policy == "two-choices":
        candidates = dice.choices(servers, weights=[server.perf for server in servers], k=2)
    return min(
        candidates,
        key=lambda s: max(router.view[s.number][0] - now, 0.0) + cost / s.perf,
    )


def add_case_options(parser: argparse.ArgumentParser, *, n_workers: int) -> None:
    """The options that make a case."""
    add = parser.add_argument
    add("--routers", type=int, default=20)
    add("--workers", type=int, default=n_workers)
    add("--load", type=float, default=0.8)
    add("--view-every", type=float, default=1.0, help="seconds; routers read it once a second")
    add("--requests", type=int, default=100_000)
    add("--seed", type=int, default=0)
    add("--json", action="store_true")


def case_of(options: argparse.Namespace) -> RoutingCase:
    """The case that the options make."""
    return RoutingCase(
        n_routers=options.routers,
        n_workers=options.workers,
        load=options.load,
        view_every_s=options.view_every,
        n_requests=options.requests,
        seed=options.seed,
    )


def main(arguments: list[str]) -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(
        prog="python -m ballast.simulator routing", description=__doc__
    )
    add_case_options(parser, n_workers=10)
    options = parser.parse_args(arguments)
    scores = compare(case_of(options))
    if options.json:
        print(json.dumps([asdict(score) for score in scores]))
        return 0
    print(f"{'policy':12} {'> 10 s':>8} {'mean wait':>10} {'p99':>8} {'attempts':>9}")
    for score in scores:
        print(
            f"{score.policy:12} {100 * score.late_share:7.3f}% {score.mean_wait_s:9.3f}s "
            f"{score.p99_wait_s:7.2f}s {score.attempts_per_grant:9.3f}"
        )
    return 0
