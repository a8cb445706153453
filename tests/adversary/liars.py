"""One of two real machines tells lies of itself while it serves, under a load that needs both."""

from __future__ import annotations

import base64
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import requests

from chalicelib.wire.ticket import Claims
from lab.local.system.owner import patiently
from tests.adversary.processes import TIMEOUT_S, Town, ask_worker

N_CLIENTS, N_TOKENS = 15, 100  # of a machine with ten slots: one and a half of them at work
WATCHED_S, SETTLES_S, LIE_EVERY_S = 30.0, 3.0, 0.4
BUSY_S = 20.0  # for which calls that time out are tried again
SIGNATURE_SIZE = 256

Lie = Mapping[str, float]


@dataclass
class Watched:
    """What came of it. `lost`: honest machines that were not ready at some moment."""

    granted: Counter[str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)
    lost: set[int] = field(default_factory=set)
    rented: set[int] = field(default_factory=set)

    def share(self, url: str) -> float:
        """Of all grants, those to this machine."""
        return self.granted[url] / max(1, self.granted.total())


def boot_of(ticket: Mapping[str, object]) -> str:
    """The boot that a ticket is bound to: root on the machine knows it anyway."""
    return Claims.from_bytes(base64.b64decode(str(ticket["signature"]))[:-SIGNATURE_SIZE]).boot_id


@dataclass
class Liar:
    """Root on one machine: the worker serves as ever, and what it reports is ours."""

    town: Town
    instance_id: int
    token: str
    url: str
    boot_id: str = ""
    lie: Lie = field(default_factory=dict)
    n: int = 0  # granted to it, as it sees: all of them came, it says, and are done

    def report(self) -> None:
        """One report; the worker's own ones are older and change nothing from now on."""
        load = float(self.n * N_TOKENS)
        told: dict[str, object] = {
            "id": self.instance_id, "mtoken": self.token, "version": "2.1.0",
            "ticket": "D", "boot_id": self.boot_id, "seq": int(time.time() * 1000),
            "max_perf": 1_000.0, "cur_load": 0.0, "num_requests_working": 0, "slots": 10,
            "num_requests_recieved": self.n, "n_served": self.n,
            "received_load": load, "finished_load": load, **self.lie,
        }  # fmt: skip
        with suppress(requests.RequestException):  # lost on a busy machine; the next one tells it
            self.town.call("POST", "/worker_status/", told)

    def go_on(self, is_over: threading.Event) -> None:
        """Report until it is over."""
        while not is_over.wait(LIE_EVERY_S):
            self.report()


def watch(town: Town, liar: Liar) -> Watched:
    """Some seconds of closed-loop clients, who need more than one machine."""
    seen, is_over, lock = Watched(), threading.Event(), threading.Lock()
    before = {int(row["id"]) for row in town.market.instances("mine")}
    ready = {int(row["id"]) for row in _ready(town)}

    def client() -> None:
        payload = {"inputs": "x", "parameters": {"max_new_tokens": N_TOKENS}}
        while not is_over.is_set():
            try:
                ticket = town.ticket(town.held["route key"], float(N_TOKENS))
            except requests.RequestException:
                continue
            url = str(ticket.get("url", ""))
            if not url:
                time.sleep(0.2)
                continue
            with lock:
                seen.granted[url] += 1
                if url == liar.url:
                    liar.n, liar.boot_id = liar.n + 1, boot_of(ticket)
            is_served = ask_worker(ticket, "/generate", payload=payload).status == 200
            with lock:
                seen.served[url] += is_served

    threads = [threading.Thread(target=client, daemon=True) for _ in range(N_CLIENTS)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + WATCHED_S
    try:
        while time.monotonic() < end:
            now_ready = {int(row["id"]) for row in _ready(town)}
            seen.lost |= ready - now_ready - {liar.instance_id}
            seen.rented |= {int(row["id"]) for row in town.market.instances("mine")} - before
            time.sleep(0.5)
    finally:  # clients that went on would keep the process, and the workers, from their end
        is_over.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
    return seen


def _ready(town: Town) -> list[dict[str, Any]]:
    """A busy machine lets a call time out now and then, which is no news of a worker."""
    return patiently(lambda: town.owner.ready_workers(town.mine), BUSY_S)


def play(town: Town, liar: Liar, lies: Mapping[str, Lie]) -> dict[str, Watched]:
    """What comes of each lie; afterwards the machine is given up, its own reports being old."""
    found: dict[str, Watched] = {}
    is_over = threading.Event()
    thread = threading.Thread(target=liar.go_on, args=(is_over,))
    thread.start()
    try:
        for name, lie in lies.items():
            liar.lie = lie
            time.sleep(SETTLES_S)
            found[name] = watch(town, liar)
    finally:
        is_over.set()
        thread.join()
    return found
