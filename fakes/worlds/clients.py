"""Clients of a world's groups: they ask the real router, and come back until they are served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from chalicelib.core.model.load import WaitingRequest
from chalicelib.ports.bundles import HotPorts
from chalicelib.services.keys import endpoint_key
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import RouteRefusedError, route
from chalicelib.wire.routing import RouteRequest
from fakes.ports.clock import FakeRandomness

MOST_TURNED_AWAY = 10
"""After so many of a group that must wait on, the others of this moment are not asked for: a long
queue would cost a day's test minutes, and be answered the same."""


@dataclass(slots=True)
class Client:
    """One request. `idx`: what the router gave it to come back with."""

    number: int
    endpoint_id: int
    cost: float
    asked_at: float
    key: str = ""  # the group's own, if empty
    insists: bool = False  # takes no interruptible worker
    idx: int = 0
    status: str = ""
    n_failed: int = 0


class Clients:
    """Those that wait, and how those that do not any more ended.

    `serves`: given the URL of a ticket, whether the request is answered well there. `keeps_router`:
    one warm router answers all, and remembers; else each time a cold one.
    """

    def __init__(
        self,
        ports: HotPorts,
        serves: Callable[[str, float], bool],
        *,
        keeps_router: bool,
        seed: int,
    ) -> None:
        self._ports = ports
        self._serves = serves
        self._seed = seed
        self._router = RouterMemory() if keeps_router else None
        self._randomness = FakeRandomness(seed)
        self.waiting: dict[int, Client] = {}
        self.n_asked = 0
        self.n_served = 0
        self.n_refused = 0
        self.longest_wait_s = 0.0

    def ask(
        self, endpoint_id: int, n: int, cost: float, key: str, *, insists: bool = False
    ) -> None:
        """New requests."""
        for _ in range(n):
            self.n_asked += 1
            self.waiting[self.n_asked] = Client(
                number=self.n_asked,
                endpoint_id=endpoint_id,
                cost=cost,
                asked_at=self._ports.clock.now(),
                key=key,
                insists=insists,
            )

    def come_back(self) -> None:
        """Each waiting client asks once; who is given a worker goes there at once."""
        memory = self._router or RouterMemory()
        randomness = self._randomness if self._router else FakeRandomness(self._seed)
        ports = replace(self._ports, randomness=randomness)
        turned_away: Counter[int] = Counter()
        for client in list(self.waiting.values()):
            if client.idx and turned_away[client.endpoint_id] >= MOST_TURNED_AWAY:
                self._stay(client)
                continue
            self._ask_router(ports, memory, client)
            if client.number in self.waiting:
                turned_away[client.endpoint_id] += 1
            else:
                turned_away[client.endpoint_id] = 0

    def _stay(self, client: Client) -> None:
        """It asks as well, and is answered as those before it: only its row is kept fresh."""
        now = self._ports.clock.now()
        request = WaitingRequest(
            endpoint_id=client.endpoint_id,
            request_idx=client.idx,
            cost=client.cost,
            first_seen_at=client.asked_at,
            last_polled_at=now,
            is_paced=True,
            needs_on_demand=client.insists,
        )
        self._ports.waiting.put(request)

    def deploy(self, router: RouterMemory) -> None:
        """New code: from now on a router answers that knows nothing yet."""
        self._router = router

    def leave(self) -> None:
        """Whoever waits gives up."""
        self.waiting.clear()

    def _ask_router(self, ports: HotPorts, memory: RouterMemory, client: Client) -> None:
        key = client.key or endpoint_key(ports.secrets, client.endpoint_id, 1)
        request = RouteRequest(
            endpoint=None,
            endpoint_id=client.endpoint_id,
            api_key=key,
            cost=client.cost,
            request_idx=client.idx,
            is_paced=True,
            takes_interruptible=not client.insists,
        )
        try:
            reply = route(ports, memory, request)
        except RouteRefusedError:
            self.n_refused += 1
            del self.waiting[client.number]
            return
        client.idx = int(str(reply["request_idx"]))
        client.status = str(reply.get("status", ""))
        if "url" not in reply:
            return
        if self._serves(str(reply["url"]), client.cost):
            self.n_served += 1
            waited_s = ports.clock.now() - client.asked_at
            self.longest_wait_s = max(self.longest_wait_s, waited_s)
            del self.waiting[client.number]
        else:
            client.n_failed += 1
