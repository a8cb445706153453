"""`python -m lab.bench routers`: router processes side by side against the simulator's prediction.

Each router is a process with the real `route` and the real adapters; they share one database, an
emulator in another process, and race on its rows. Arrivals, worker speeds and the moments at which
the view is built are the simulator's (`ballast/simulator/routed/routing.py`), and so is time: the
clock is set by each request, so nothing depends on how fast the machine is. Requests that arrive
within `TOGETHER_S` are routed at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from ballast.simulator.routed.routing import (
    SLOW_S,
    Arrival,
    RoutingCase,
    Server,
    Shared,
    add_case_options,
    arrivals,
    case_of,
    play,
)
from chalicelib.adapters.aws.routing import DynamoRoutingViewRepository
from chalicelib.adapters.aws.tables import create_tables
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.core.model.autogroup import TicketGeneration
from chalicelib.core.routing.admission import AdmissionParams
from chalicelib.core.routing.directory import pack_directory
from chalicelib.core.routing.packed_view import pack_view
from chalicelib.core.routing.view import RoutingView
from chalicelib.ports.routing_view import StoredView
from fakes.bundles.hot_ports import ENDPOINT_ID, make_group, make_worker
from fakes.ports.clock import ManualClock
from lab.bench.routers.router_process import PREFIX, Grant, Question, local_client, serve
from lab.local.gateway.servers import start_aws
from lab.local.processes.children import Children, listen, url_of
from lab.local.system.environment import base_environment

BUDGET = 1.3
"""The measured share that waits longer than `SLOW_S`, as a multiple of the predicted one."""

TOGETHER_S = 0.05
START = ManualClock().now()
GROUP = make_group(params=AdmissionParams(max_queue_time=1e9))


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What many grants came to; `n_grants` is what the rows say."""

    n_grants: int
    slow_share: float
    mean_wait_s: float
    attempts_per_grant: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Both sides of a comparison on the same requests."""

    measured: Figures
    predicted: Figures

    @property
    def slow_ratio(self) -> float:
        """Measured by predicted share of requests that wait longer than `SLOW_S`."""
        return self.measured.slow_share / self.predicted.slow_share


class SharedDatabase:
    """The database that the routers share, with the case's group and workers."""

    def __init__(self, url: str, servers: Sequence[Server]) -> None:
        client = local_client(url)
        create_tables(client, PREFIX)
        self._views = DynamoRoutingViewRepository(client, PREFIX)
        self._views.write_directory(pack_directory([GROUP]))
        rows = DynamoWorkerRepository(client, PREFIX)
        for server in servers:
            row = make_worker(server.number, START, ticket=TicketGeneration.C)
            rows.add(replace(row, perf=server.perf, url=url_of_server(server.number)))
        self._rows = rows

    def publish(self, shared: Shared) -> None:
        """Store the view as it was just built, in the product's time and with addresses."""
        workers = shared.routable()
        for worker in workers:
            worker.free_at += START
            worker.known_at += START
            worker.generation = TicketGeneration.C.value
            worker.url = url_of_server(worker.instance_id)
        built_at = START + shared.built_at
        view = RoutingView(
            group=GROUP,
            built_at=built_at,
            workers=tuple(workers),
            grants_per_s=shared.requests_per_s,
        )
        stored = StoredView(shard=0, n_shards=1, built_at=built_at, blob=pack_view(view))
        self._views.write(ENDPOINT_ID, [stored])

    def n_grants(self) -> int:
        """By the rows."""
        return sum(row.reqnum for row in self._rows.list(ENDPOINT_ID))


def url_of_server(number: int) -> str:
    """A worker's address, which tells its number."""
    return f"http://203.0.113.1:{number}"


def number_of_url(url: str) -> int:
    """The worker's number again."""
    return int(url.rpartition(":")[2])


class Routers:
    """The running processes."""

    def __init__(self, url: str, n_routers: int) -> None:
        context = get_context("spawn")
        self._pipes: list[Connection] = []
        for seed in range(n_routers):
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, url, seed), daemon=True).start()
            theirs.close()
            self._pipes.append(ours)

    def route(self, together: Sequence[Arrival]) -> list[tuple[Arrival, Grant]]:
        """Route requests at the same time; each router takes its own in their order."""
        for arrival in together:
            self._pipes[arrival.router].send(Question(START + arrival.now, arrival.cost))
        return [(arrival, self._pipes[arrival.router].recv()) for arrival in together]

    def stop(self) -> Counter[str]:
        """End them; gives the calls that they made, by operation."""
        for pipe in self._pipes:
            pipe.send(None)
        return sum((pipe.recv() for pipe in self._pipes), Counter[str]())


def measure(case: RoutingCase, url: str) -> Figures:
    """Route the case's requests by processes that share the database at `url`."""
    servers = [Server(i, speed) for i, speed in enumerate(case.speeds())]
    shared = Shared(servers, case.requests_per_s)
    database, routers = SharedDatabase(url, servers), Routers(url, case.n_routers)
    rng = random.Random(f"routing:{case.seed}")
    for _ in range(case.n_routers):
        rng.random()  # the simulator draws each router's moment of reading
    waits_s: list[float] = []
    requests = arrivals(case, rng)
    for _, group in groupby(requests, key=lambda arrival: int(arrival.now / TOGETHER_S)):
        together = list(group)
        before = shared.built_at
        shared.rebuild_if_due(together[0].now, case.view_every_s)
        if shared.built_at != before:
            database.publish(shared)
        waits_s += _serve(servers, routers.route(together))
    n_calls, n_grants = routers.stop(), database.n_grants()
    return Figures(
        n_grants=n_grants,
        slow_share=sum(wait > SLOW_S for wait in waits_s) / len(waits_s),
        mean_wait_s=sum(waits_s) / len(waits_s),
        attempts_per_grant=n_calls["UpdateItem"] / n_grants,
    )


def _serve(servers: Sequence[Server], granted: Sequence[tuple[Arrival, Grant]]) -> list[float]:
    """The waits; each worker serves in the order in which it was granted."""
    by_server = defaultdict(list)
    for arrival, grant in granted:
        by_server[number_of_url(grant.url)].append((grant.reqnum, arrival))
    return [
        servers[number].take(arrival)
        for number, queue in by_server.items()
        for _, arrival in sorted(queue, key=lambda pair: pair[0])
    ]


@contextmanager
def local_database(*, has_ministack: bool) -> Iterator[str]:
    """An emulator while the block runs; gives its address."""
    with ExitStack() as stack:
        children = Children(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(children.stop)
        listener = stack.enter_context(listen())
        url = url_of(listener)
        environment = base_environment(
            os.environ, aws_url=url, lambda_url=url, market_url=url, url=url
        )
        start_aws(children, listener.fileno(), environment, has_ministack=has_ministack)
        yield url


def compare(case: RoutingCase, *, has_ministack: bool) -> Report:
    """Measured beside predicted, on the same requests."""
    with local_database(has_ministack=has_ministack) as url:
        measured = measure(case, url)
    score = play(case, "ours")
    predicted = Figures(
        n_grants=case.n_requests,
        slow_share=score.slow_share,
        mean_wait_s=score.mean_wait_s,
        attempts_per_grant=score.attempts_per_grant,
    )
    return Report(measured=measured, predicted=predicted)


def main(argv: list[str]) -> int:
    """Measure and print; the exit code is 1 over budget or with a grant unaccounted for."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench routers", description=__doc__)
    add_case_options(parser, n_workers=100)
    parser.add_argument(
        "--ministack", action="store_true", help="instead of moto; needs `make ministack`"
    )
    options = parser.parse_args(argv)
    case = case_of(options)
    report = compare(case, has_ministack=options.ministack)
    figures = {**asdict(report), "slow_ratio": report.slow_ratio}
    print(json.dumps(figures, indent=None if options.json else 1))
    is_whole = report.measured.n_grants == case.n_requests
    return int(not is_whole or report.slow_ratio > BUDGET)
