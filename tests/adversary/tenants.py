"""Holders of callers' keys: more than a quota, more rows, others' secrets and things."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol

from chalicelib.api.auth import PUBLIC
from chalicelib.core.model.caller_key import CallerKeyError
from chalicelib.core.model.load import WAITING_ENDS_S
from chalicelib.core.routing.quota import LOAD_BURST_S
from chalicelib.services.keys import KeyLimits, KeyMemory, check_key, endpoint_key, issue_key
from chalicelib.services.keys import worker_token as token_of
from chalicelib.services.routing.quotas import OversizeError
from fakes.bundles.hot_ports import ENDPOINT_ID, OWN_SOFTWARE
from tests.adversary.game import Action, Game, Script
from tests.api.over_fakes import Api
from tests.api.test_auth import guarded_routes
from tests.services.router import Router, make_world, see

N_ROUTERS = 4
RATE, LOAD, SLOTS = 1.0, 5.0, 3


def _ask(dice: random.Random) -> Action:
    if dice.random() < 0.35:
        return ("wait", round(dice.choice([0.05, 0.5, 1.0, 3.0, 12.0]), 2))
    cost = dice.choice([0.0, 1e-6, 0.1, 1.0, 10.0, 50.0, 51.0, 1e9])
    return ("ask", dice.randrange(N_ROUTERS), cost, dice.choice(["none", "new", "last", "first"]))


@dataclass
class Tenant:
    """A key with limits, asked with at any of some routers."""

    n_workers: int
    limits: KeyLimits
    granted: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = make_world()
        for i in range(1, self.n_workers + 1):
            self.world.add_worker(i, **OWN_SOFTWARE, perf=1e6)
        see(self.world)
        text, _ = issue_key(self.world.ports(), name="tenant", verbs=("route",), limits=self.limits)
        self.key, self.began_at = text, self.world.clock.now()
        self.routers = [Router(self.world) for _ in range(N_ROUTERS)]
        self.seen: list[int] = [0]
        self.n_rows = 0

    def do(self, action: Action) -> None:
        if action[0] == "wait":
            self.world.clock.advance(float(str(action[1])))
            see(self.world)
            return
        _, router, cost, how = action
        idx = {"none": None, "new": 0, "last": self.seen[-1], "first": self.seen[0]}[str(how)]
        try:
            reply = self.routers[int(str(router))].ask(idx, float(str(cost)), key=self.key)
        except OversizeError:
            return
        self.seen.append(int(str(reply["request_idx"])))
        if "url" in reply:
            self.granted.append(float(str(cost)))
        alive_since = self.world.clock.now() - WAITING_ENDS_S
        alive = self.world.waiting.list(ENDPOINT_ID, polled_since=alive_since)
        self.n_rows = max(self.n_rows, len(alive))

    @property
    def elapsed_s(self) -> float:
        return self.world.clock.now() - self.began_at


def over_quota(script: Script) -> float:
    """Times the quota that was granted, of requests or of load; each action eight times."""
    it = Tenant(2, KeyLimits(max_requests_per_s=RATE, max_load_per_s=LOAD))
    for action in script:
        for _ in range(8):
            it.do(action)
    requests = len(it.granted) / (max(1.0, RATE) + RATE * it.elapsed_s)
    load = sum(it.granted) / (LOAD * LOAD_BURST_S + LOAD * it.elapsed_s)
    return max(requests, load)


def over_rows(script: Script) -> float:
    """Times the quota of requests at once that waited at once."""
    it = Tenant(0, KeyLimits(max_concurrent=SLOTS))
    for action in script:
        for _ in range(8):
            it.do(action)
    return it.n_rows / SLOTS


# Secrets and things of others, through every guarded route of the management API.


@dataclass
class Company:
    """Two groups; the adversary belongs to the first."""

    def __post_init__(self) -> None:
        self.api = Api()
        self.mine, self.theirs = (self.api.create_endpoint(name) for name in ("mine", "theirs"))
        self.their_autogroup = self.api.create_autogroup(self.theirs)
        self.my_autogroup = self.api.create_autogroup(self.mine)
        own = [endpoint_key(self.api.secrets, i, 1) for i in (self.mine, self.theirs)]
        self.secrets = {*own, self.api.key}
        limited = KeyLimits(max_requests_per_s=0.1, max_concurrent=1)
        tenant, _ = issue_key(
            self.api.ports,
            name="tenant",
            verbs=("route", "read"),
            endpoint_id=self.mine,
            limits=limited,
        )
        self.held = {
            "no key": "",
            "route key": own[0],
            "limited key": tenant,
            "read key": self.api.new_key("read", endpoint_id=self.mine),
            "worker's token": token_of(self.api.secrets, self.mine, "intent"),
        }


_COMPANY: list[Company] = []


def _company() -> Company:
    """One for all games: a game that changes it has won, and then it is made anew."""
    if not _COMPANY:
        _COMPANY.append(Company())
    return _COMPANY[0]


@cache
def _resources() -> list[tuple[str, str]]:
    return [(method, path) for method, path, access in guarded_routes() if access.verb != PUBLIC]


BODIES = ("{}", "mine", "theirs", "list", "rotate", "huge")


def _call(dice: random.Random) -> Action:
    method, path = dice.choice(_resources())
    return ("call", method, path, dice.choice(["mine", "theirs", "none"]), dice.choice(BODIES),
            dice.choice(["header", "query", "body", "basic", "cut", "none"]))  # fmt: skip


class Told(Protocol):
    """An answer."""

    @property
    def status(self) -> int: ...
    @property
    def text(self) -> str: ...


class AnyApi(Protocol):
    """A management API, in this process or another."""

    def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> Told: ...
    def state(self) -> object: ...


class AnyCompany(Protocol):
    """Two groups, and what each role holds of the first."""

    @property
    def api(self) -> AnyApi: ...
    @property
    def held(self) -> Mapping[str, str]: ...
    @property
    def secrets(self) -> AbstractSet[str]: ...
    @property
    def mine(self) -> int: ...
    @property
    def theirs(self) -> int: ...
    @property
    def my_autogroup(self) -> int: ...
    @property
    def their_autogroup(self) -> int: ...


def stolen_as(
    role: str, find_company: Callable[[], AnyCompany] = _company
) -> Callable[[Script], float]:
    """Secrets in answers, and changes of anything, that calls with what the role holds bring."""

    def play(script: Script) -> float:
        company = find_company()
        api, held = company.api, company.held[role]
        before, n_stolen = api.state(), 0
        for _, method, path, whose, body_kind, how in script:
            is_mine = whose == "mine"
            ids = (company.mine, company.my_autogroup) if is_mine else (
                (company.theirs, company.their_autogroup) if whose == "theirs" else (999, 999)
            )  # fmt: skip
            is_autogroup = "autojob" in str(path) or "workergroup" in str(path)
            filled = str(path)
            for name in ("{id}", "{key_id}", "{name}", "{hash_id}"):
                filled = filled.replace(name, str(ids[is_autogroup]))
            answer = api.call(
                str(method),
                filled + (f"?api_key={held}" if how == "query" else ""),
                _body(str(body_kind), ids, held if how == "body" else None),
                key=(held if how == "header" else held[:-1] if how == "cut" else "") or None,
            )
            n_stolen += sum(secret in answer.text for secret in company.secrets - {held})
            n_stolen += "theirs" in answer.text and answer.status < 300
        if api.state() != before:
            _COMPANY.clear()
            return n_stolen + 1.0
        return float(n_stolen)

    return play


def _body(kind: str, ids: tuple[int, int], key: str | None) -> object:
    ids_of: dict[str, object] = {
        "id": ids[0],
        "endpoint_id": ids[0],
        "autogroup_id": ids[1],
        "workergroup_id": ids[1],
    }
    bodies: dict[str, dict[str, object]] = {
        "{}": {},
        "mine": ids_of,
        "theirs": ids_of,
        "list": {"tail": 1_000},
        "rotate": {**ids_of, "rotate": True, "frozen": True, "confirm": "destroy everything"},
        "huge": {**ids_of, "name": "n" * 10_000, "min_load": 1e9, "max_workers": 1_000},
    }
    body = bodies[kind]
    return body if key is None else {**body, "api_key": key}


# Keys made out of what one has seen.


def _forge(dice: random.Random) -> Action:
    return (
        "forge",
        dice.choice(["own", "tenant", "derived", "token"]),
        dice.choice(["a-roa-ghost", "e7-roa-ghost", "e8-r-own", "e7-r-own", "KEY", "KEY-d8"]),
        dice.choice([1, 2, 3, 10**8]),
        dice.choice(["as it is", "cut", "doubled", "mac worker", "mac index", "A", "swapped"]),
    )


def forged(script: Script) -> float:
    """Texts that are taken for keys and are none of those that were given out."""
    world = make_world()
    ports = world.ports()
    tenant, row = issue_key(ports, name="t", verbs=("route",), endpoint_id=ENDPOINT_ID)
    known = {
        "own": endpoint_key(world.secrets, ENDPOINT_ID, 1),
        "tenant": tenant,
        "derived": endpoint_key(world.secrets, ENDPOINT_ID, 1),
        "token": token_of(world.secrets, ENDPOINT_ID, "intent"),
    }
    n_taken, memory = 0, KeyMemory()
    for _, source, key_id, generation, how in script:
        proof = known[str(source)].rpartition(".")[2]
        name = str(key_id).replace("KEY", row.key_id)
        end = {
            "as it is": proof,
            "cut": proof[:43],
            "doubled": proof[:43] * 2,
            "mac worker": world.secrets.mac("worker", f"{name}.{generation}"),
            "mac index": world.secrets.mac("index", f"{name}.{generation}"),
            "A": "A" * 86,
            "swapped": proof[43:] + proof[:43],
        }[str(how)]
        text = f"blk.{name}.{generation}.{end}"
        if text in known.values():
            continue
        try:
            check_key(ports, memory, text, world.clock.now())
        except CallerKeyError:
            continue
        n_taken += 1
    return float(n_taken)


ROLES = ("no key", "route key", "limited key", "read key", "worker's token")

GAMES = (
    Game(role="limited key", goal="spend", measure="times its quota granted (four routers)",
         bound=1.0, draw=_ask, play=over_quota, length=20),
    Game(role="limited key", goal="flood", measure="waiting rows, times its requests at once",
         bound=1.5, draw=_ask, play=over_rows, length=20),
    *(Game(role=role, goal="read", measure="secrets read, things changed", bound=0.0,
           draw=_call, play=stolen_as(role), length=30, where="API over fakes") for role in ROLES),
    Game(role="root on a worker", goal="read", measure="keys made from what it saw", bound=0.0,
         draw=_forge, play=forged, length=30),
)  # fmt: skip
