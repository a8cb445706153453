"""`python -m lab.local wake`: a herd of clients asks a group that has nothing rented.

The scaler's schedule is switched off, so that only the routers' pokes make it decide. Measured are
the time from the first request to the decision, read back from the event log (so a little more than
it took), what was rented, and how often the waiting clients ask.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace

import aiohttp

from ballast.client.route_reply import Grant, parse_route_reply, route_body
from chalicelib.adapters.aws.events import DynamoEventLog
from chalicelib.adapters.aws.ledger import DynamoLedger
from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED_8B, register_templates
from lab.local.system.up import end_by_signals

GROUP = "asleep"
PARAMS = {"cold_workers": 0, "max_workers": 2}
BUDGET_S = 2.0
NO_SCHEDULE_S = 86_400.0
LEASE_S = 1.0
TIMEOUT_S = 60.0
NO_SCHEDULE = Options(schedule_pause_s=NO_SCHEDULE_S, round_interval_s=1.0)


class Herd(threading.Thread):
    """Clients that ask at once, and again as they are told, until they are granted or stopped."""

    def __init__(self, system: LocalSystem, n_clients: int) -> None:
        super().__init__(daemon=True)
        self.n_polls: Counter[int] = Counter()  # by second since the first request
        self.n_granted = 0
        self.problems: list[str] = []
        self.began_at = 0.0
        self._system, self._n_clients = system, n_clients
        self._over = threading.Event()

    def run(self) -> None:
        """Ask until `stop`."""
        self.began_at = time.time()
        asyncio.run(self._ask_all())

    def stop(self) -> None:
        """Let every client go, and wait for it."""
        self._over.set()
        self.join()

    async def _ask_all(self) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self._system.account_key}"}
        async with aiohttp.ClientSession(
            self._system.url, connector=connector, timeout=timeout, headers=headers
        ) as http:
            clients = [self._client(http) for _ in range(self._n_clients)]
            for result in await asyncio.gather(*clients, return_exceptions=True):
                if isinstance(result, BaseException):
                    self.problems.append(repr(result))

    async def _client(self, http: aiohttp.ClientSession) -> None:
        idx = 0
        while not self._over.is_set():
            self.n_polls[int(time.time() - self.began_at)] += 1
            async with http.post("/route/", json=route_body(GROUP, 100.0, idx)) as answer:
                reply = parse_route_reply(answer.status, await answer.text())
            if isinstance(reply, Grant):
                self.n_granted += 1
                return
            idx = reply.request_idx
            await asyncio.sleep(reply.poll_after_s or 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a group woke."""

    decided_after_s: float
    n_rented: int
    polls_per_s: float  # in the mean, after everybody asked once
    most_polls_per_s: int
    problems: tuple[str, ...]


def wake(system: LocalSystem, n_clients: int, seconds: float) -> Outcome:
    """Make a group, wait until the scaler sleeps, wake it, and watch for so long.

    Raises:
        NotYetError: the scaler did not fall asleep, or decided nothing.
    """
    owner, market = Owner(system.url, system.account_key), MarketView(system.market_url)
    template = register_templates(system.market_url, [TGI_SIMULATED_8B])[TGI_SIMULATED_8B.name]
    endpoint_id = owner.create_group(GROUP, **PARAMS)
    owner.create_autogroup(GROUP, template, test_workers=0)
    client, prefix = system.dynamodb(), system.table_prefix
    wait_until("a sleeping scaler", lambda: _is_asleep(DynamoLedger(client, prefix)), TIMEOUT_S)

    events, herd = DynamoEventLog(client, prefix), Herd(system, n_clients)
    asked_at = time.time()
    herd.start()
    try:
        scope, kinds = f"endpoint:{endpoint_id}", frozenset({"decision"})
        wait_until(
            "a decision",
            lambda: events.tail(scope, limit=1, since=asked_at, kinds=kinds),
            TIMEOUT_S,
        )
        decided_after_s = time.time() - asked_at
        time.sleep(max(0.0, seconds - decided_after_s))
    finally:
        herd.stop()
    system.check()
    polls = [herd.n_polls[second] for second in range(1, int(seconds))] or [0]
    return Outcome(
        decided_after_s=round(decided_after_s, 2),
        n_rented=len(market.instances()),
        polls_per_s=round(sum(polls) / len(polls), 1),
        most_polls_per_s=max(polls),
        problems=tuple(herd.problems),
    )


def _is_asleep(ledger: DynamoLedger) -> bool:
    """Whether no loop of the scaler runs: then its lease is free."""
    lease = ledger.take_lease("wake", time.time(), LEASE_S)
    if lease is not None:
        ledger.release_lease(lease.fence)
    return lease is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="to watch them")
    parser.add_argument("--routers", type=int, default=2, help="gateway processes")
    parser.add_argument(
        "--ministack", action="store_true", help="instead of moto; needs `make ministack`"
    )
    parser.add_argument("--json", action="store_true", help="print figures as JSON, nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Run and print; the exit status is 1 if it took too long or anything went wrong."""
    end_by_signals()
    options = replace(NO_SCHEDULE, n_gateways=arguments.routers, has_ministack=arguments.ministack)
    with local_system(options, (lambda _: None) if arguments.json else print) as system:
        outcome = wake(system, arguments.clients, arguments.seconds)
    print(json.dumps(asdict(outcome)) if arguments.json else outcome)
    is_fine = outcome.decided_after_s < BUDGET_S and not outcome.problems
    return int(not (is_fine and 1 <= outcome.n_rented <= PARAMS["max_workers"]))
