"""`AsyncClient`: the same calls for asyncio programs, on threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ballast.client.call_progress import CallTrace
from ballast.client.resume import Resume
from ballast.client.sdk import DEFAULT_COST, Answer, Client

T = TypeVar("T")


class AsyncAnswer:
    """A worker's answer; an asynchronous context manager."""

    def __init__(self, answer: Answer, pool: ThreadPoolExecutor) -> None:
        self._answer = answer
        self._pool = pool

    @property
    def trace(self) -> CallTrace:
        """What the call went through."""
        return self._answer.trace

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            CallError: as `Answer.chunks`.
        """
        chunks = self._answer.chunks()
        while (chunk := await _in_thread(self._pool, lambda: next(chunks, None))) is not None:
            yield chunk

    async def json(self) -> object:
        """The whole body as JSON.

        Raises:
            CallError: as `Answer.chunks`.
            ValueError: it is not JSON.
        """
        return await _in_thread(self._pool, self._answer.json)

    async def __aenter__(self) -> AsyncAnswer:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._answer.close()


class AsyncClient:
    """`Client` without blocking the event loop; at most `max_concurrent` calls at once."""

    def __init__(self, client: Client, max_concurrent: int = 100) -> None:
        self._client = client
        self._pool = ThreadPoolExecutor(max_concurrent, thread_name_prefix="ballast-client")

    async def request(  # noqa: PLR0913  each is an option that callers name
        self,
        endpoint: str,
        route: str,
        payload: Mapping[str, object],
        *,
        cost: float = DEFAULT_COST,
        timeout_s: float = 600.0,
        traceparent: str = "",
        interruptible: bool = True,
        conversation: str = "",
    ) -> AsyncAnswer:
        """The answer, open for reading; see `Client.request`.

        Raises:
            CallError: see `ballast.client.errors`.
        """
        answer = await _in_thread(
            self._pool,
            lambda: self._client.request(
                endpoint,
                route,
                payload,
                cost=cost,
                timeout_s=timeout_s,
                traceparent=traceparent,
                interruptible=interruptible,
                conversation=conversation,
            ),
        )
        return AsyncAnswer(answer, self._pool)

    async def stream(  # noqa: PLR0913  each is an option that callers name
        self,
        endpoint: str,
        route: str,
        payload: Mapping[str, object],
        *,
        cost: float = DEFAULT_COST,
        timeout_s: float = 600.0,
        traceparent: str = "",
        interruptible: bool = True,
        resume: Resume = False,
        conversation: str = "",
    ) -> AsyncAnswer:
        """An answer that comes bit by bit; see `Client.stream`.

        Raises:
            CallError: see `ballast.client.errors`.
        """
        answer = await _in_thread(
            self._pool,
            lambda: self._client.stream(
                endpoint,
                route,
                payload,
                cost=cost,
                timeout_s=timeout_s,
                traceparent=traceparent,
                interruptible=interruptible,
                conversation=conversation,
                resume=resume,
            ),
        )
        return AsyncAnswer(answer, self._pool)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()


async def _in_thread(pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, call)
