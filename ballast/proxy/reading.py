"""Reading a caller's body: the JSON for the worker, its cost, and its keys of affinity.

A proxy that routes with its callers' own keys learns only by routing whether a key is good, and 57
MB of empty lists took ten seconds of its loop, of anybody's: in these no answer flowed. So what is
large is read outside the serving process, two bodies at a time.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import resource
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from ballast.client.affinity import Affinity, affinity_of
from chalicelib.wire.json_body import (
    LIGHT_BYTES,
    LIGHT_ELEMENTS,
    MAX_ELEMENTS,
    WireError,
    n_elements,
    parse_payload,
)
from chalicelib.wire.token_cost import cost_of

N_HELPERS = 2
HELPER_MEMORY = 4 * 2**30

ANY_MODEL = ("", "any", "default")
"""Names that mean "what is served there"; the group's own name does as well."""


class BodyError(Exception):
    """The body cannot be used; status and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Purpose:
    """What a body is for: the worker's route and group, and what affinity is keyed with."""

    route: str
    endpoint: str
    secret: bytes
    conversation: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A payload as JSON, and what `/route/` is told of it."""

    data: bytes
    cost: float
    affinity: Affinity


class Reader:
    """Reads bodies for one proxy; `close` ends its helpers."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._reading = asyncio.Semaphore(N_HELPERS)

    async def read(self, body: bytes, purpose: Purpose) -> Prepared:
        """What is in it.

        Raises:
            BodyError: 400 or 413.
        """
        n = n_elements(body)
        if n > MAX_ELEMENTS:
            raise BodyError(413, f"the body has more than {MAX_ELEMENTS:,} elements")
        if len(body) <= LIGHT_BYTES and n <= LIGHT_ELEMENTS:
            return read_body(body, purpose)
        async with self._reading:
            self._pool = self._pool or ProcessPoolExecutor(
                N_HELPERS,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_bound_helper,
            )
            loop = asyncio.get_running_loop()
            try:
                return await loop.run_in_executor(self._pool, read_body, body, purpose)
            except (BrokenProcessPool, MemoryError) as error:
                self.close()
                raise BodyError(413, "the body is too large to be read") from error

    def close(self) -> None:
        """End the helpers."""
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def read_body(body: bytes, purpose: Purpose) -> Prepared:
    """What is in a JSON body.

    Raises:
        BodyError: 400.
    """
    try:
        payload = parse_payload(body)
    except WireError as error:
        raise BodyError(400, str(error)) from error
    return prepare(payload, purpose)


def prepare(payload: Mapping[str, object], purpose: Purpose) -> Prepared:
    """A payload for its worker."""
    if payload.get("model") in (*ANY_MODEL, purpose.endpoint):
        # vLLM serves its own model where none is named, and refuses every other name.
        payload = {name: value for name, value in payload.items() if name != "model"}
    return Prepared(
        data=json.dumps(payload).encode(),
        cost=cost_of(purpose.route, payload),
        affinity=affinity_of(purpose.secret, purpose.endpoint, payload, purpose.conversation),
    )


def _bound_helper() -> None:
    """A helper has bounded memory and ends with the proxy."""
    resource.setrlimit(resource.RLIMIT_AS, (HELPER_MEMORY, HELPER_MEMORY))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGINT, signal.SIG_IGN)
