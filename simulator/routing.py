"""`python -m simulator routing`: routing policies with many stateless routers and one stale view.

Workers serve one request after the other at speeds 1 to 3; sizes are lognormal, four seconds on the
slowest in the mean. A shared view of all workers is built every `--view-age` seconds; each router
reads it at its own moments, at most once a second. Ours drives `core/routing.py` as the hot
function does: a reservation is refused when others granted too much since the view was built.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from chalicelib.core.least_finish import RoutableWorker, Wish
from chalicelib.core.routing import AutogroupFacts, RoutingTable

CACHE_S = 1.0  # a router's copy of the view is at most this old
MAX_TRIES = 4  # the last one is granted whatever others did meanwhile
LATE_S = 10.0
POLICIES = ("fresh", "ours", "two-choices", "round-robin", "random", "stale")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingCase:
    """One comparison's size; `size_sigma` of the log size."""

    n_routers: int = 20
    n_workers: int = 10
    load: float = 0.8
    view_age_s: float = 2.0
    n_requests: int = 100_000
    mean_size_s: float = 4.0
    size_sigma: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingScore:
    """What a policy scored."""

    policy: str
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """A request to be routed."""

    number: int
    cost: float
    now: float


@dataclass(slots=True)
class Shared:
    """The workers, and the view that all routers read."""

    servers: list[Server]
    built_at: float = -math.inf
    view: list[tuple[float, float]] = field(default_factory=list)  # (free_at, granted_load)

    def rebuild_if_due(self, now: float, age_s: float) -> None:
        """Build the view anew once it is `age_s` old."""
        if now - self.built_at >= age_s:
            self.built_at = now
            self.view = [(server.free_at, server.granted_load) for server in self.servers]


@dataclass(slots=True)
class Router:
    """A stateless router's copy of the view."""

    phase: float
    read_at: float = -math.inf
    built_at: float = -math.inf
    view: list[tuple[float, float]] = field(default_factory=list)
    table: RoutingTable | None = None

    def refresh(self, shared: Shared, now: float) -> bool:
        """Read the view if the copy is too old; whether it changed."""
        if now - self.read_at < CACHE_S:
            return False
        self.read_at = now - (self.phase * CACHE_S if self.read_at == -math.inf else 0.0)
        if shared.built_at == self.built_at:
            return False
        self.built_at, self.view = shared.built_at, shared.view
        return True


def compare(case: RoutingCase, policies: Sequence[str] = POLICIES) -> list[RoutingScore]:
    """Every policy on the same requests."""
    return [play(case, policy) for policy in policies]


def play(case: RoutingCase, policy: str) -> RoutingScore:
    """One policy on the case's requests."""
    rng = random.Random(f"routing:{case.seed}")
    servers = [Server(i, 1.0 + 2.0 * i / max(case.n_workers - 1, 1)) for i in range(case.n_workers)]
    shared = Shared(servers)
    routers = [Router(phase=rng.random()) for _ in range(case.n_routers)]
    rate = case.load * sum(server.perf for server in servers) / case.mean_size_s
    mu = math.log(case.mean_size_s) - case.size_sigma**2 / 2
    dice = random.Random(f"dice:{case.seed}:{policy}")
    waits: list[float] = []
    attempts, now = 0, 0.0
    for number in range(case.n_requests):
        now += rng.expovariate(rate)
        cost = math.exp(mu + case.size_sigma * rng.gauss(0, 1))
        shared.rebuild_if_due(now, case.view_age_s)
        router = routers[rng.randrange(case.n_routers)]
        is_new = router.refresh(shared, now)
        if policy == "ours":
            server, tries = _ours(router, shared, cost, now, dice=dice.random(), is_new=is_new)
        else:
            arrival = Arrival(number=number, cost=cost, now=now)
            server, tries = _simple(policy, router, servers, arrival, dice), 1
        attempts += tries
        start = max(server.free_at, now)
        server.free_at = start + cost / server.perf
        server.granted_load += cost
        waits.append(start - now)
    waits.sort()
    return RoutingScore(
        policy=policy,
        late_share=sum(wait > LATE_S for wait in waits) / len(waits),
        mean_wait_s=sum(waits) / len(waits),
        p99_wait_s=waits[int(0.99 * len(waits))],
        attempts_per_grant=attempts / len(waits),
    )


def _ours(
    router: Router, shared: Shared, cost: float, now: float, *, dice: float, is_new: bool
) -> tuple[Server, int]:
    if is_new or router.table is None:
        table = RoutingTable([AutogroupFacts(autogroup_id=1)], _routable(router, shared))
        if router.table is not None:
            table.carry_over(router.table, now)
        router.table = table
    table = router.table
    for tries in range(1, MAX_TRIES + 1):
        choice = table.choose(Wish(cost=cost, bound_s=math.inf, dice=dice), now)
        if choice is None:
            break
        server = shared.servers[choice.worker.instance_id]
        if server.granted_load <= choice.bound or tries == MAX_TRIES:
            table.granted(choice.worker, cost, server.granted_load + cost, now)
            return server, tries
        table.correct(choice.worker, server.granted_load, now)
    raise ValueError("a routing table without workers")


def _routable(router: Router, shared: Shared) -> list[RoutableWorker]:
    return [
        RoutableWorker(
            instance_id=server.number,
            autogroup_index=0,
            perf=server.perf,
            usd_per_hour=server.perf,
            free_at=free_at,
            granted_load=granted,
        )
        for server, (free_at, granted) in zip(shared.servers, router.view, strict=True)
    ]


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


def main(arguments: list[str]) -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m simulator routing", description=__doc__)
    add = parser.add_argument
    add("--routers", type=int, default=20)
    add("--workers", type=int, default=10)
    add("--load", type=float, default=0.8)
    add("--view-age", type=float, default=2.0)
    add("--requests", type=int, default=100_000)
    add("--seed", type=int, default=0)
    add("--json", action="store_true")
    options = parser.parse_args(arguments)
    case = RoutingCase(
        n_routers=options.routers,
        n_workers=options.workers,
        load=options.load,
        view_age_s=options.view_age,
        n_requests=options.requests,
        seed=options.seed,
    )
    scores = compare(case)
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
