"""`python -m lab.local soak`: mixed load with kills on the whole local system, and its books.

Clients come in waves, so that workers are rented and returned; some die on the way. Workers and
routers are killed. At the end every request must have ended once, every ticket must have been
given once, the worker rows must agree, and no process of ours may have grown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psutil
import requests

from chalicelib.adapters.aws.waiting import DynamoWaitingRepository
from chalicelib.adapters.aws.workers.repository import DynamoWorkerRepository
from chalicelib.core.model.load import WAITING_ENDS_S
from chalicelib.core.model.worker import Worker, WorkerState
from lab.local.system.local_system import LocalSystem, Options, local_system
from lab.local.system.owner import MarketView, Owner, wait_until
from lab.local.system.templates import TGI_SIMULATED_8B, LocalTemplate, register_templates
from lab.local.system.up import end_by_signals
from lab.local.trials.soak_books import Books, as_facts
from lab.local.trials.soak_clients import Aim, Habits, send_all

GROUP = "soak"
PARAMS = {"min_load": 100.0, "cold_workers": 1, "max_workers": 12}  # killed ones linger 10 minutes
READY_TIMEOUT_S = 120.0
SETTLE_TIMEOUT_S = 180.0
LOOK_EVERY_S = 2.0
MAX_GROWTH = 0.1
"""Of a process's memory from the second third of the run to the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long, how hard, and what is killed when.

    Routers die in the first third only: after it their memory can be compared between spells.
    """

    seconds: float
    habits: Habits = field(default_factory=Habits)
    kill_worker_every_s: float = 90.0
    kill_router_every_s: float = 240.0
    seed: int = 1
    template: LocalTemplate = TGI_SIMULATED_8B


@dataclass(slots=True)
class Watch:
    """What was seen from outside: rows, memory in MB by process, kills."""

    rows: dict[int, Worker] = field(default_factory=dict)  # also of workers that are gone
    ready: set[int] = field(default_factory=set)
    boots: dict[int, set[str]] = field(default_factory=dict)
    memory: dict[str, list[float]] = field(default_factory=dict)
    n_workers_killed: int = 0
    n_routers_killed: int = 0


class Soak:
    """A run on a running system."""

    def __init__(self, system: LocalSystem, plan: Plan) -> None:
        self.books = Books()
        self.watch = Watch()
        self._system, self._plan = system, plan
        self._owner = Owner(system.url, system.account_key)
        self._market = MarketView(system.market_url)
        self._rng = random.Random(plan.seed)
        self._over = threading.Event()
        client, prefix = system.dynamodb(), system.table_prefix
        self._workers = DynamoWorkerRepository(client, prefix)
        self._waiting = DynamoWaitingRepository(client, prefix)
        self._endpoint_id = 0

    def run(self) -> None:
        """Make the group, send the load, and wait until the books agree.

        Raises:
            NotYetError: no worker became ready, or the books disagree for good.
        """
        template = self._plan.template
        hash_id = register_templates(self._system.market_url, [template])[template.name]
        self._endpoint_id = self._owner.create_group(GROUP, **PARAMS)
        self._owner.create_autogroup(GROUP, hash_id, test_workers=1)
        wait_until(
            "a ready worker",
            lambda: self._owner.ready_workers(self._endpoint_id),
            READY_TIMEOUT_S,
            shown=lambda: self._owner.workers(self._endpoint_id),
        )
        watcher = threading.Thread(target=self._look_on, daemon=True)
        watcher.start()
        aim = Aim(url=self._system.url, api_key=self._system.account_key, endpoint=GROUP)
        plan = self._plan
        asyncio.run(send_all(aim, plan.habits, plan.seconds, self.books, plan.seed))
        self._over.set()
        watcher.join()
        wait_until("books that agree", self._agrees, SETTLE_TIMEOUT_S, shown=self.disagreements)
        self._system.check()

    def disagreements(self) -> list[str]:
        """What is wrong, with both sides of the books of each worker."""
        found = self._problems()
        if found:
            rows = self.watch.rows
            found += [f"{i}: {as_facts(sold, rows.get(i))}" for i, sold in self.books.sold.items()]
        return found

    def _agrees(self) -> bool:
        self._read_rows()
        return not self._problems()

    def _problems(self) -> list[str]:
        watch, now = self.watch, time.time()
        steady = {i for i in watch.ready if len(watch.boots[i]) == 1}
        found = self.books.problems_with(watch.rows, steady)
        rows = self._waiting.list(self._endpoint_id, polled_since=now - WAITING_ENDS_S)
        waiting = {row.request_idx for row in rows} & self.books.granted_idxs
        return [*found, *(f"request {idx} was granted, and still waits" for idx in sorted(waiting))]

    def _look_on(self) -> None:
        """Read rows and memory, and kill what the plan says, until the load is over."""
        began, n_workers, n_routers = time.monotonic(), 1, 1
        while not self._over.wait(LOOK_EVERY_S):
            at_s = time.monotonic() - began
            self._read_rows()
            self._read_memory()
            if at_s > n_workers * self._plan.kill_worker_every_s:
                n_workers += 1
                self._kill_worker()
            is_early = n_routers == 1 or at_s < self._plan.seconds / 3
            if is_early and at_s > n_routers * self._plan.kill_router_every_s:
                n_routers += 1
                self._kill_router()

    def _read_rows(self) -> None:
        rows = self._workers.list(self._endpoint_id)
        self.watch.ready = {row.instance_id for row in rows if row.state is WorkerState.READY}
        for row in rows:
            self.watch.rows[row.instance_id] = row
            self.watch.boots.setdefault(row.instance_id, set()).add(row.boot_id)

    def _read_memory(self) -> None:
        for name, pid in self._system.children.pids().items():
            family = [psutil.Process(pid), *psutil.Process(pid).children()]
            if name == "market":  # its children are the rented machines
                family = family[:1]
            total = sum(_rss(process) for process in family)
            self.watch.memory.setdefault(name, []).append(total / 1e6)

    def _kill_worker(self) -> None:
        """End all processes of a ready worker's machine, as when its container crashes."""
        try:
            pids = [r["pid"] for r in self._market.instances() if r["id"] in self.watch.ready]
            os.killpg(self._rng.choice([pid for pid in pids if pid]), signal.SIGKILL)
        except (IndexError, ProcessLookupError, requests.RequestException):
            return  # none is ready, or it is gone already, or the machine is too busy: next time
        self.watch.n_workers_killed += 1

    def _kill_router(self) -> None:
        """End one gateway process in the midst of its requests; its parent starts another."""
        routers = psutil.Process(self._system.children.pids()["gateway"]).children()
        if routers:  # a killed one's successor may not have started yet
            with suppress(psutil.NoSuchProcess):
                self._rng.choice(routers).kill()
            self.watch.n_routers_killed += 1


def _rss(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss)
    except psutil.NoSuchProcess:  # killed a moment ago
        return 0.0


def growth(samples: list[float]) -> float:
    """Relative growth of the median from the second third of the samples to the last."""
    third = len(samples) // 3
    if not third:
        return 0.0
    return median(samples[-third:]) / median(samples[third : 2 * third]) - 1


def figures_of(soak: Soak) -> dict[str, Any]:
    """Everything to print, JSON-ready. Memory in MB."""
    watch = soak.watch
    return {
        **soak.books.figures(),
        "grants_that_reached_nobody": soak.books.n_ghosts(watch.rows.values()),
        "workers_killed": watch.n_workers_killed,
        "routers_killed": watch.n_routers_killed,
        "memory_mb": {
            name: {"last": round(samples[-1], 1), "growth": round(growth(samples), 3)}
            for name, samples in watch.memory.items()
        },
        "unaccounted": len(soak.disagreements()),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=8.0, help="requests per second, in the mean")
    parser.add_argument("--routers", type=int, default=2, help="gateway processes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--ministack", action="store_true", help="instead of moto; needs `make ministack`"
    )
    parser.add_argument("--json", action="store_true", help="print figures as JSON, nothing else")


def run(arguments: argparse.Namespace) -> int:
    """Run and print; the exit status is 1 when books or memory are not in order."""
    end_by_signals()
    plan = Plan(
        seconds=60 * arguments.minutes, habits=Habits(rate=arguments.rate), seed=arguments.seed
    )
    options = Options(
        n_gateways=arguments.routers, seed=arguments.seed, has_ministack=arguments.ministack
    )
    with local_system(options, (lambda _: None) if arguments.json else print) as system:
        soak = Soak(system, plan)
        soak.run()
        figures = figures_of(soak)
    print(json.dumps(figures) if arguments.json else _as_text(figures))
    grown = [name for name, m in figures["memory_mb"].items() if m["growth"] > MAX_GROWTH]
    return int(bool(grown or figures["unaccounted"]))


def _as_text(figures: Mapping[str, Any]) -> str:
    return "\n".join(f"{name:<28} {value}" for name, value in figures.items())
