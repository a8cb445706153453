"""The soak's clients: each asks, waits as told, goes to its worker, or dies on the way."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from ballast.client.errors import RouteRefusedError
from ballast.client.route_reply import Grant, Waiting, parse_route_reply, route_body
from chalicelib.wire.ticket import Claims, split_signature
from lab.local.trials.soak_books import Books, Fate, Sold

SIGNATURE_BYTES = 256  # RSA-2048
MEAN_TOKENS = 60.0
CALL_TIMEOUT_S = 30.0
TIMES_WITHOUT_REPLY_S = 1.0
BURST_EVERY_S = 120.0
BURST_SHARE = 0.8  # of the mean rate: calm and busy spells alternate


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """How clients behave; shares of the requests."""

    rate: float = 8.0  # requests per second, in the mean
    dies_waiting: float = 0.002  # per answer that says wait
    dies_with_ticket: float = 0.02
    repeats_at_once: float = 0.02  # says that it could not reach its worker, and asks again
    patience_s: float = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Aim:
    """Where requests go."""

    url: str
    api_key: str
    endpoint: str


async def send_all(aim: Aim, habits: Habits, seconds: float, books: Books, seed: int) -> None:
    """Send requests for so long, and wait until each has ended."""
    rng, began = random.Random(seed), time.monotonic()
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        asyncio.TaskGroup() as tasks,
    ):
        at_s = 0.0
        while at_s < seconds:
            wave = math.sin(2 * math.pi * at_s / BURST_EVERY_S)
            at_s += rng.expovariate(habits.rate * (1 + BURST_SHARE * wave))
            await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
            books.n_asked += 1
            client = _Client(session, aim, habits, books, random.Random(rng.random()))
            tasks.create_task(client.run())


class _Client:
    """One request from its first call to its end."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        aim: Aim,
        habits: Habits,
        books: Books,
        rng: random.Random,
    ) -> None:
        self._session, self._aim, self._habits = session, aim, habits
        self._books, self._rng = books, rng
        self._n_tokens = max(1, round(MEAN_TOKENS * rng.lognormvariate(-0.5, 1.0)))
        self._began = time.monotonic()
        self._idx = 0
        self._was_granted = False

    async def run(self) -> None:
        """Until it ends; its fate is noted exactly once."""
        fate: Fate | None = None
        while fate is None:
            fate = await self._ask()
            if fate is None and time.monotonic() - self._began > self._habits.patience_s:
                fate = Fate.EXPIRED
        self._books.fates[fate] += 1

    async def _ask(self) -> Fate | None:
        """One call of `/route/` and what follows from it."""
        self._books.n_route_calls += 1
        self._books.n_retries += self._was_granted
        self._was_granted = False
        body = route_body(self._aim.endpoint, float(self._n_tokens), self._idx)
        try:
            async with self._session.post(
                f"{self._aim.url}/route/",
                json=body,
                headers={"Authorization": f"Bearer {self._aim.api_key}"},
            ) as answer:
                reply = parse_route_reply(answer.status, await answer.text())
        except RouteRefusedError as error:
            self._books.problems.append(str(error))
            return Fate.REFUSED
        except (aiohttp.ClientError, TimeoutError):  # a router was killed: ask the next
            self._books.n_lost_replies += 1
            await asyncio.sleep(TIMES_WITHOUT_REPLY_S)
            return None
        if isinstance(reply, Grant):
            self._books.granted_idxs.add(self._idx)
        self._idx = reply.request_idx
        return await (self._wait(reply) if isinstance(reply, Waiting) else self._take(reply))

    async def _wait(self, reply: Waiting) -> Fate | None:
        if self._rng.random() < self._habits.dies_waiting:
            return Fate.DIED_WAITING
        await asyncio.sleep(reply.poll_after_s or TIMES_WITHOUT_REPLY_S)
        return None

    async def _take(self, grant: Grant) -> Fate | None:
        """Note the ticket, and go to the worker: mostly."""
        instance_id = _claims(grant.auth_data).instance_id
        reqnum = grant.auth_data["reqnum"]
        if not isinstance(reqnum, int):
            raise TypeError(f"reqnum {reqnum!r}")
        self._books.note_grant(instance_id, reqnum, float(self._n_tokens))
        self._was_granted = True
        dice = self._rng.random()
        if dice < self._habits.dies_with_ticket:
            return Fate.DIED_WITH_TICKET
        if dice < self._habits.dies_with_ticket + self._habits.repeats_at_once:
            return None
        wait_s = time.monotonic() - self._began
        if not await self._call(grant, self._books.sold[instance_id]):
            return None
        self._books.waits_s.append(wait_s)
        return Fate.ANSWERED

    async def _call(self, grant: Grant, sold: Sold) -> bool:
        """Whether the worker answered the whole text."""
        payload = {"inputs": "hello", "parameters": {"max_new_tokens": self._n_tokens}}
        body = {"auth_data": dict(grant.auth_data), "payload": payload}
        try:
            async with self._session.post(f"{grant.url}/generate", json=body) as answer:
                answer.raise_for_status()
                await answer.read()
                sold.delivered += self._n_tokens
                return True
        except (aiohttp.ClientError, TimeoutError):  # its machine was killed, or went away
            sold.doubtful += self._n_tokens
            return False


def _claims(auth_data: Mapping[str, object]) -> Claims:
    """What the ticket binds: the instance, whose address another one may get later."""
    blob, _ = split_signature(str(auth_data["signature"]), SIGNATURE_BYTES)
    return Claims.from_bytes(blob)
