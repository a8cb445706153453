"""Many clients of many routers in virtual time: each asks, and asks again when it is told to."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

from chalicelib.ports.bundles import HotPorts
from chalicelib.services.routing.memory import RouterMemory
from chalicelib.services.routing.route import route
from chalicelib.wire.routing import RouteRequest
from fakes.ports.clock import ManualClock


@dataclass(eq=False)
class Caller:
    """One request of a client. Times in epoch seconds."""

    key: str
    cost: float
    asked_at: float
    leaves_at: float = float("inf")  # it dies in the queue
    idx: int = 0
    told: list[tuple[float, float]] = field(default_factory=list)  # (when, expected to start in s)
    granted_at: float | None = None
    starts_at: float = float("inf")  # when its worker begins with it

    @property
    def wait_s(self) -> float:
        """From its first question to its start at the worker."""
        return self.starts_at - self.asked_at


@dataclass
class Crowd:
    """Clients that do as they are told, spread over routers at random."""

    ports: HotPorts
    clock: ManualClock
    endpoint: str
    n_routers: int = 20
    seed: int = 0
    speed: float = 100.0  # load per second of each worker
    callers: list[Caller] = field(default_factory=list)
    n_polls: Counter[int] = field(default_factory=Counter)  # by second since the start
    free_at: dict[str, float] = field(default_factory=dict)  # by worker url
    served: dict[str, list[Caller]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._routers = [RouterMemory() for _ in range(self.n_routers)]
        self._rng = random.Random(self.seed)
        self._due: list[tuple[float, int, Caller]] = []
        self._began_at = self.clock.now()

    def add(self, caller: Caller) -> None:
        """One more client; it asks when its time comes."""
        heapq.heappush(self._due, (caller.asked_at, len(self.callers), caller))
        self.callers.append(caller)

    def run(self, seconds: float) -> None:
        """Let clients ask for so long; the clock moves with them."""
        end = self.clock.now() + seconds
        while self._due and self._due[0][0] <= end:
            at, number, caller = heapq.heappop(self._due)
            self.clock.advance(max(0.0, at - self.clock.now()))
            if at < caller.leaves_at and (pause_s := self._ask(caller)) is not None:
                heapq.heappush(self._due, (at + pause_s, number, caller))
        self.clock.advance(max(0.0, end - self.clock.now()))

    def _ask(self, caller: Caller) -> float | None:
        """Ask once; gives the pause until it asks again, or None: it was granted."""
        now = self.clock.now()
        self.n_polls[int(now - self._began_at)] += 1
        request = RouteRequest(
            endpoint=self.endpoint,
            endpoint_id=None,
            api_key=caller.key,
            cost=caller.cost,
            request_idx=caller.idx,
            is_paced=True,
        )
        reply = route(self.ports, self._rng.choice(self._routers), request)
        caller.idx = int(str(reply["request_idx"]))
        if "url" not in reply:
            if (eta_s := reply.get("eta_s")) is not None:
                caller.told.append((now, float(str(eta_s))))
            return float(str(reply["poll_after_s"]))
        url = str(reply["url"])
        caller.granted_at, caller.starts_at = now, max(now, self.free_at.get(url, 0.0))
        self.free_at[url] = caller.starts_at + caller.cost / self.speed
        self.served.setdefault(url, []).append(caller)
        return None
