"""The games on real processes: gateways, scaler, market and PyWorkers on this machine, over HTTP.

Two groups of simulated models, each with a ready worker; `use` says which running system. Machines
that an adversary had rented stay for a while, so what counts is what came on top in a game.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import psutil
import requests

from chalicelib.core.routing.quota import LOAD_BURST_S
from chalicelib.wire.ticket import TICKET_HEADER
from lab.local.system.local_system import LocalSystem
from lab.local.system.owner import MarketView, Owner, patiently, wait_until
from lab.local.system.templates import TGI_SIMULATED, register_templates
from tests.adversary import tenants
from tests.adversary.game import Action, Game, Script

RATE, LOAD = 2.0, 20.0
MAX_WORKERS = 6
ONE_TYPE = "gpu_name=RTX_4090"  # a liar has its part beside honest ones of its speed
SETTLES_S = 5.0  # rounds run each second here, and at each poke
TIMEOUT_S = 60.0
_NUMBERS = itertools.count(1)
_FIXED = ("id", "endpoint_name", "max_workers", "min_load", "frozen", "endpoint_state", "weight",
          "template_hash", "key_id", "is_revoked", "generation", "max_load_per_s")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """An answer."""

    status: int
    text: str


@dataclass
class Town:
    """A running system with the adversary's group and another's."""

    system: LocalSystem
    secrets: set[str] = field(default_factory=set)
    held: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = self
        self.owner = Owner(self.system.url, self.system.account_key)
        self.market = MarketView(self.system.market_url)
        hashes = register_templates(self.system.market_url, [TGI_SIMULATED])
        self.mine, self.my_autogroup = self._group("mine", hashes[TGI_SIMULATED.name])
        self.theirs, self.their_autogroup = self._group("theirs", hashes[TGI_SIMULATED.name])
        self.held = {
            "no key": "",
            "route key": self.new_key(verbs=["route"]),
            "limited key": self.new_key(verbs=["route", "read"], max_requests_per_s=0.1),
            "read key": self.new_key(verbs=["read"]),
            "worker's token": self.rooted()[1],
        }
        own = {str(row["api_key"]) for row in self.owner.groups()}
        self.secrets = {*own, self.system.account_key}

    def _group(self, name: str, template_hash: str) -> tuple[int, int]:
        limits = {"min_load": 10.0, "cold_workers": 0, "max_workers": MAX_WORKERS}
        endpoint_id = self.owner.create_group(name, **limits)
        autogroup = self.owner.create_autogroup(
            name, template_hash, test_workers=1, search_params=ONE_TYPE
        )
        wait_until(f"a worker of {name}", lambda: self.owner.ready_workers(endpoint_id), 240.0)
        return endpoint_id, autogroup

    def end(self) -> None:
        """Return everything."""
        for endpoint_id in (self.mine, self.theirs):
            self.owner.delete_group(endpoint_id)
        wait_until("an empty market", lambda: not self.market.instances(), 300.0)

    def new_key(self, **limits: object) -> str:
        """A key of the adversary's group."""
        name = f"k{next(_NUMBERS)}"
        body = {"verbs": ["route"], "name": name, "endpoint_id": self.mine, **limits}
        return str(self.owner.call("POST", "/api/v0/keys", body)["key"])

    def rooted(self) -> tuple[int, str]:
        """A machine of the adversary's group, and its MASTER_TOKEN, as root there reads it."""
        found: tuple[int, str] | None = None

        def is_there() -> bool:
            nonlocal found
            for row in sorted(self.market.instances("mine"), key=lambda row: int(row["id"])):
                with suppress(psutil.Error, TypeError, KeyError):  # stopped, or gone meanwhile
                    environment = psutil.Process(int(row["pid"])).environ()
                    found = int(row["id"]), environment["MASTER_TOKEN"]
                    return True
            return False

        wait_until("a machine that runs", is_there, 120.0)
        assert found is not None
        return found

    def call(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Told:
        """One request of an adversary."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = self.system.url + path
        answer = requests.request(method, url, json=body, headers=headers, timeout=TIMEOUT_S)
        return Told(answer.status_code, answer.text)

    def state(self) -> object:
        """What a request could have changed, by the owner's own view."""
        listed = [self.owner.call("GET", path)["results"] for path in
                  ("/api/v0/endptjobs/", "/api/v0/autojobs/", "/api/v0/keys")]  # fmt: skip
        account = self.owner.call("GET", "/api/v0/status")["account"]
        rows = [{name: row.get(name) for name in _FIXED} for rows in listed for row in rows]
        return rows, account["is_frozen"], account["is_panicking"], account.get("caps")

    def ticket(self, key: str, cost: float) -> dict[str, object]:
        """What /route/ says; a grant has a url."""
        told = self.call("POST", "/route/", {"endpoint": "mine", "cost": cost}, key=key)
        reply = json.loads(told.text)
        return reply if isinstance(reply, dict) else {}


_TOWN: list[Town] = []


def use(town: Town | None) -> None:
    """The town that the games are played in from now on."""
    _TOWN[:] = [town] if town else []


def _town() -> Town:
    return _TOWN[0]


def ask_worker(ticket: dict[str, object], path: str, **fields: object) -> Told:
    """A POST to the worker that a ticket names."""
    headers = {TICKET_HEADER: str(fields.pop("header"))} if "header" in fields else {}
    body = {"auth_data": ticket, **fields}
    try:
        answer = requests.post(
            f"{ticket['url']}{path}", json=body, headers=headers, timeout=TIMEOUT_S
        )
    except requests.RequestException as error:
        return Told(0, type(error).__name__)
    return Told(answer.status_code, answer.text)


def generate(ticket: dict[str, object], n_tokens: int, **fields: object) -> bool:
    """Whether the worker generated so many tokens."""
    payload = {"inputs": "x", "parameters": {"max_new_tokens": n_tokens}}
    return ask_worker(ticket, "/generate", payload=payload, **fields).status == 200


# A limited key at router and worker: tokens that it gets, times its quota.


def _draw_use(dice: random.Random) -> Action:
    n_tokens = dice.choice([1, 1, 10, 40, 120, 200])
    which = dice.choice(["last", "first"])
    return dice.choice([
        ("ticket", dice.choice([0.0, 0.0001, 1.0, 40.0, 40.0, 200.0])),
        ("ticket", 40.0),
        ("use", n_tokens, which),
        ("use", n_tokens, which),
        ("session", which),
        ("in", n_tokens),
        ("in", n_tokens),
    ])  # fmt: skip


def over_quota(script: Script) -> float:
    """Times its quota, of tokens or of requests, that a limited key was served; thrice each act."""
    town = _town()
    key = town.new_key(max_load_per_s=LOAD, max_requests_per_s=RATE)
    began_at, tokens, n_served = time.monotonic(), 0, 0
    tickets: list[dict[str, object]] = []
    sessions: list[tuple[dict[str, object], str]] = []
    for what, *how in [act for act in script for _ in range(3)]:
        if what == "ticket":
            reply = town.ticket(key, float(str(how[0])))
            tickets += [reply] if "url" in reply else []
        elif what == "use" and tickets:
            ticket = tickets[-1 if how[1] == "last" else 0]
            if generate(ticket, int(str(how[0]))):
                tokens, n_served = tokens + int(str(how[0])), n_served + 1
        elif what == "session" and tickets:
            ticket = tickets[-1 if how[0] == "last" else 0]
            told = ask_worker(ticket, "/session/create", payload={"lifetime": 3_600})
            if told.status == 201:
                sessions.append((ticket, str(json.loads(told.text)["session_id"])))
        elif what == "in" and sessions:
            ticket, session_id = sessions[-1]
            if generate(ticket, int(str(how[0])), session_id=session_id):
                tokens, n_served = tokens + int(str(how[0])), n_served + 1
    for ticket, session_id in sessions:
        ask_worker(ticket, "/session/end", session_id=session_id, session_auth=ticket)
    elapsed_s = time.monotonic() - began_at
    return max(
        tokens / (LOAD * LOAD_BURST_S + LOAD * elapsed_s),
        n_served / (max(1.0, RATE) + RATE * elapsed_s),
    )


# Tickets at a worker's port: one request each, however they are changed and sent.


def _draw_ticket(dice: random.Random) -> Action:
    changed = dice.choice([
        (), ("cost", 1e9), ("reqnum", 13), ("request_idx", 1), ("url", "http://127.0.0.1:1"),
        ("endpoint", "theirs"), ("signature", "cut"), ("signature", "padded"), ("extra", 1),
    ])  # fmt: skip
    return ("send", changed, dice.choice(["", "", "header", "header cut"]), dice.choice([1, 1, 4]))


def used_twice(script: Script) -> float:
    """Requests served by one ticket, beyond the first."""
    town = _town()
    ticket = town.ticket(town.held["route key"], 5.0)
    if "url" not in ticket:
        return 0.0
    signature = str(ticket["signature"])
    n_served = 0
    with ThreadPoolExecutor(4) as pool:
        for _, changed, header, n in script:
            sent, fields = dict(ticket), dict[str, object]()
            if isinstance(changed, tuple) and changed:
                other = {"cut": signature[:-4], "padded": signature + "===="}
                sent[changed[0]] = other.get(str(changed[1]), changed[1])
            if header:
                fields["header"] = signature if header == "header" else signature[:-4]
            calls = [
                pool.submit(partial(_at, str(ticket["url"]), sent, fields))
                for _ in range(int(str(n)))
            ]
            n_served += sum(call.result() for call in calls)
    return float(max(0, n_served - 1))


def _at(url: str, sent: dict[str, object], fields: dict[str, object]) -> bool:
    """Send a changed ticket to the worker of the true one."""
    payload = {"inputs": "x", "parameters": {"max_new_tokens": 2}}
    headers = {TICKET_HEADER: str(fields["header"])} if fields else {}
    body = {"auth_data": sent, "payload": payload}
    answer = requests.post(f"{url}/generate", json=body, headers=headers, timeout=TIMEOUT_S)
    return answer.status_code == 200


# Machines that one request, or the reports of one machine, start.


def _draw_lie(dice: random.Random) -> Action:
    name = dice.choice(
        ["max_perf", "slots", "cur_load", "num_requests_working", "received_load",
         "finished_load", "rejected_load", "n_errored"]
    )  # fmt: skip
    return (name, dice.choice([0, 1, 3, 300, 600, 1e6, 1e12]))


def _lie(town: Town, script: Script) -> None:
    """One report as a PyWorker's, with these fields; its own ones count as old for a while."""
    instance_id, token = town.rooted()
    told: dict[str, object] = {
        "id": instance_id, "mtoken": token, "version": "2.0.0",
        "ticket": "D", "boot_id": "f" * 16, "seq": int(time.time() * 1000) + 10**9,
        "max_perf": 400.0, "cur_load": 0.0, "num_requests_working": 0, "slots": 4,
    }  # fmt: skip
    for name, value in script:
        number = float(str(value))
        is_count = name in ("slots", "num_requests_working", "n_errored")
        told[str(name)] = int(number) if is_count else number
    town.call("POST", "/worker_status/", told)


def started(act: Callable[[Town], None]) -> float:
    """Machines that got a GPU by it, rented or started, within a few rounds, beyond the one it may.

    By the market's own bill, so what stopped or went again meanwhile counts as well. Of the
    adversary's own group, once the game before is over and its machines leave room for two more.
    """
    town = _town()
    wait_until("a group at rest", lambda: _is_at_rest(town), 240.0, shown=lambda: _standing(town))
    before, up = _gpu_s(town), {int(str(row["id"])) for row in _up(town)}
    act(town)
    time.sleep(SETTLES_S)
    fresh = [i for i, gpu_s in _gpu_s(town).items() if i not in up and gpu_s > before.get(i, 0.0)]
    return float(max(0, len(fresh) - 1))


def _gpu_s(town: Town) -> dict[int, float]:
    """For how long the GPU of each contract was billed, of those that are gone, too."""
    contracts = town.market.bill()["by_instance"].items()
    return {int(i): row["gpu_s"] for i, row in contracts if row["label"].startswith("mine - ")}


def _up(town: Town) -> list[dict[str, object]]:
    return [row for row in town.market.instances("mine") if row["cur_state"] != "stopped"]


def _standing(town: Town) -> tuple[list[str], list[str]]:
    """The states of the group's machines at the market, and of its workers as Ballast has them."""
    rows = patiently(lambda: town.owner.workers(town.mine), TIMEOUT_S)
    at_market = sorted(str(row["cur_state"]) for row in town.market.instances("mine"))
    return at_market, sorted(str(row["status"]) for row in rows)


def _is_at_rest(town: Town) -> bool:
    """What runs is ready; a reserve that a game before it left is stopped."""
    at_market, statuses = _standing(town)
    n_up = len(at_market) - at_market.count("stopped")
    return len(at_market) <= MAX_WORKERS - 2 and 0 < n_up == statuses.count("idle")


def started_by_lies(script: Script) -> float:
    """By the reports of the only machine of its group: one may come for it, if it is broken."""

    def act(town: Town) -> None:
        for _ in range(3):
            _lie(town, script)
            time.sleep(1.0)

    return started(act)


def _draw_ask(dice: random.Random) -> Action:
    return ("ask", dice.choice([1, 1e3, 65_535.0, 1e6, 1e9]), dice.choice([None, 0]))


def started_by_one(script: Script) -> float:
    """By a single request of any stated cost."""

    def act(town: Town) -> None:
        _, cost, idx = script[0]
        body: dict[str, object] = {"endpoint": "mine", "cost": cost}
        body |= {} if idx is None else {"request_idx": idx}
        town.call("POST", "/route/", body, key=town.held["route key"])

    return started(act)


WHERE = "real processes"

GAMES = (
    *(Game(role=role, goal="read", measure="secrets read, things changed", bound=0.0,
           draw=tenants._call, play=tenants.stolen_as(role, _town), length=30, where=WHERE)
      for role in tenants.ROLES),
    Game(role="limited key", goal="spend", measure="times its quota served, in sessions too",
         bound=1.0, draw=_draw_use, play=over_quota, length=12, where=WHERE),
    Game(role="route key", goal="replay", measure="requests by one ticket beyond the first",
         bound=0.0, draw=_draw_ticket, play=used_twice, length=8, where=WHERE),
    Game(role="route key", goal="spend", measure="machines that one request starts, beyond one",
         bound=0.0, draw=_draw_ask, play=started_by_one, length=1, where=WHERE, most_games=12),
    Game(role="worker's token", goal="spend", measure="machines that its reports start, beyond one",
         bound=0.0, draw=_draw_lie, play=started_by_lies, length=4, where=WHERE, most_games=12),
)  # fmt: skip
