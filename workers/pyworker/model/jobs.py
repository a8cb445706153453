"""A job: a request that is more than one POST to the model server. ComfyUI's are jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import aiohttp  # clients read cost rules without it

JsonObject = dict[str, object]
Tell = Callable[[JsonObject], Awaitable[None]]
"""Gives the client an event on the way, if it asked for events."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """What a job made: the answer's body, and the load really done (None: what was asked)."""

    answer: JsonObject
    work: float | None = None


class JobFailedError(Exception):
    """The model server did not do it; status and body go to the client.

    `is_clients`: the request was wrong, and no other worker would do better.
    """

    def __init__(self, status: int, body: JsonObject, *, is_clients: bool) -> None:
        super().__init__(f"{status}: {str(body)[:300]}")
        self.status = status
        self.body = body
        self.is_clients = is_clients


class Job(Protocol):
    """The conversation of one request.

    Cancelled when the client leaves: it then stops what it had begun at the model server.
    """

    async def __call__(
        self, http: aiohttp.ClientSession, url: str, payload: JsonObject, tell: Tell
    ) -> JobResult:
        """Do it at the model server under `url`.

        Raises:
            JobFailedError: the model server did not do it.
            aiohttp.ClientError: it is gone; TimeoutError too.
        """
        ...
