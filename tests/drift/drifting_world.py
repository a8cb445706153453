"""A world in virtual time that rents through the real adapter, from a market that drifts.

Only the wire lies between: the pretend market's HTTP API answers, and changes of its answers are
put in between, each a single way in which a marketplace may change under its users.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

from werkzeug.test import Client
from werkzeug.wrappers import Response

from chalicelib.adapters.vast.client import VastMarketplace
from chalicelib.adapters.vast.http import NoAnswerError, VastAnswer, VastRequest
from chalicelib.core.fleet.troubles import standing
from chalicelib.core.scaling.round_memory import BLOB_NAME, RoundMemory
from fakes.market.market_instance import MarketInstance
from fakes.worlds.world import World
from lab.local.market.marketplace_processes import ProcessDriver
from lab.local.market.marketplace_server import MarketplaceApp
from lab.local.market.marketplace_world import MarketWorld
from tests.faults.stories import run_rounds

URL = "https://console.vast.ai"
Json = dict[str, Any]
Answer = Callable[[VastRequest, Callable[[], VastAnswer]], VastAnswer]
"""How a drifted market answers: the request, and what the market would have done and said."""

CALLS = {
    "list": ("GET", "/api/v1/instances/"),
    "show": ("GET", "/api/v0/instances/"),
    "search": ("POST", "/api/v0/bundles/"),
    "create": ("PUT", "/api/v0/asks/"),
    "bid": ("PUT", "/api/v0/instances/bid_price/"),
    "state": ("PUT", "/api/v0/instances/"),
    "destroy": ("DELETE", "/api/v0/instances/"),
    "template": ("GET", "/api/v0/template/"),
    "credit": ("GET", "/api/v0/users/current/"),
}


class DriftingWorld:
    """See the module. `drift` is what the market does otherwise now, by call."""

    def __init__(self, world: World | None = None) -> None:
        """`world`: one that was played so far without drift; what it holds is ours."""
        self.world = world or World(seed=2)
        self.drift: Mapping[str, Answer] = {}
        self.asked: Counter[str] = Counter()
        self.rented = list(self.world.market.instances.values())
        app = MarketplaceApp(
            MarketWorld(self.world.market, cast(ProcessDriver, None), now=self.world.clock.now), ""
        )
        self._http = Client(app, Response)
        vast = VastMarketplace(
            url=URL, api_key=lambda: "key", clock=self.world.clock, send=self.send
        )
        self.world.ports = replace(self.world.ports, marketplace=vast)

    def send(self, request: VastRequest) -> VastAnswer:
        """The transport of the adapter."""
        call = call_of(request)
        self.asked[call] += 1

        def act() -> VastAnswer:
            before = set(self.world.market.instances)
            found = self._http.open(
                request.url.removeprefix(URL),
                method=request.method,
                query_string=dict(request.params),
                json=request.body,
                headers={"Authorization": "Bearer key", "Host": "127.0.0.1"},
            )
            for instance_id in set(self.world.market.instances) - before:
                self.rented.append(self.world.market.instances[instance_id])
            return VastAnswer(found.status_code, found.text, dict(found.headers))

        drifted = self.drift.get(call)
        return drifted(request, act) if drifted else act()

    def rent_by_owner(self, label: str) -> int:
        """A machine of the same account that is none of ours; gives its id."""
        market, now = self.world.market, self.world.now
        row = market.offers.search({"gpu_name": {"eq": "RTX 3090"}}, now)[0]
        body = {"client_id": "me", "image": "own:1", "label": label, "disk": 16}
        return market.create(int(str(row["id"])), body, now).instance_id

    def minutes(self, n: float) -> None:
        """Rounds for so many minutes."""
        run_rounds(self.world, int(n * 4), every_s=15.0)

    @property
    def ours(self) -> list[MarketInstance]:
        """Contracts that our creates made and that bill."""
        ids = {instance.instance_id for instance in self.rented}
        living = self.world.market.instances.values()
        return [i for i in living if i.instance_id in ids and not i.is_destroyed]

    @property
    def told(self) -> set[str]:
        """The kinds of trouble that stand."""
        memory = RoundMemory.from_bytes(self.world.ledger.read_blob(BLOB_NAME))
        return {str(trouble.kind) for trouble in standing(memory.troubles, self.world.now)}


def call_of(request: VastRequest) -> str:
    """The name of a call."""
    path = request.url.removeprefix(URL)
    for call, (method, prefix) in CALLS.items():
        if request.method == method and path.startswith(prefix):
            return call
    raise AssertionError(f"no such call: {request.method} {path}")


def answers(status: int, body: object) -> Answer:
    """Nothing is done, and this is answered."""
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda _request, _act: VastAnswer(status, text)


def acts_but_answers(status: int, body: object) -> Answer:
    """It is done, and this is answered."""
    text = body if isinstance(body, str) else json.dumps(body)

    def answer(_request: VastRequest, act: Callable[[], VastAnswer]) -> VastAnswer:
        act()
        return VastAnswer(status, text)

    return answer


def edits(edit: Callable[[Json], object]) -> Answer:
    """The body of a success is changed in place, or replaced by what is given back."""

    def answer(_request: VastRequest, act: Callable[[], VastAnswer]) -> VastAnswer:
        before = act()
        if before.status != 200 or not before.text.startswith("{"):
            return before
        body = json.loads(before.text)
        after = edit(body)
        return VastAnswer(200, json.dumps(body if after is None else after), before.headers)

    return answer


def each(member: str, edit: Callable[[Json], object]) -> Answer:
    """Each row of a list is changed."""

    def change(body: Json) -> None:
        rows = body.get(member)
        for row in [rows] if isinstance(rows, dict) else rows or ():
            edit(row)

    return edits(change)


def no_answer(_request: VastRequest, act: Callable[[], VastAnswer]) -> VastAnswer:
    """It is done, and no answer comes."""
    act()
    raise NoAnswerError("ReadTimeout")
