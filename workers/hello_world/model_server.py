"""`python -m workers.hello_world.model_server`: the model server of the smallest back end.

It has no model: it says the prompt's words again and again, at the speed of a small GPU
(TOKENS_PER_S in all, N_SLOTS at once). An endpoint group of it costs little, and rents, serves,
scales and fails as any other. It listens where the PyWorker looks for it (MODEL_SERVER_URL).
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

from aiohttp import web

URL = "http://127.0.0.1:5001"
LOADED = "infer server has started"
"""Printed once it serves."""
TOKENS_PER_S = 2000.0
"""All slots together; chosen: a benchmark of ten seconds."""
N_SLOTS = 8
SECONDS_PER_TOKEN = N_SLOTS / TOKENS_PER_S
DEFAULT_TOKENS = 256
MAX_TOKENS = 100_000


class ModelServer:
    """Serves `/generate` and `/generate_stream`."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(N_SLOTS)

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_post("/generate_stream", self._generate_stream)
        return app

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        prompt, n_tokens = _wanted(await request.read())
        words = [word async for word in self._words(prompt, n_tokens)]
        return web.json_response({"generated_text": " ".join(words), "n_tokens": n_tokens})

    async def _generate_stream(self, request: web.Request) -> web.StreamResponse:
        prompt, n_tokens = _wanted(await request.read())
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        async for word in self._words(prompt, n_tokens):
            await answer.write(f"data: {json.dumps({'token': {'text': word + ' '}})}\n\n".encode())
        await answer.write_eof()
        return answer

    async def _words(self, prompt: str, n_tokens: int) -> AsyncIterator[str]:
        """Words as they come; a late one is caught up with."""
        clock = asyncio.get_running_loop().time
        words = itertools.cycle(prompt.split() or ["hello"])
        async with self._slots:
            due_at = clock()
            for word in itertools.islice(words, n_tokens):
                due_at += SECONDS_PER_TOKEN
                await asyncio.sleep(due_at - clock())
                yield word


def _wanted(body: bytes) -> tuple[str, int]:
    """The prompt, and how many tokens of answer.

    Raises:
        web.HTTPBadRequest: it is no such request.
    """
    try:
        payload = json.loads(body)
        prompt, n_tokens = payload["prompt"], payload.get("max_response_tokens")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise _refused('expected {"prompt": "…"}') from None
    if not isinstance(prompt, str):
        raise _refused("prompt: expected a string")
    n_tokens = DEFAULT_TOKENS if n_tokens is None else n_tokens
    if isinstance(n_tokens, bool) or not isinstance(n_tokens, int | float):
        raise _refused("max_response_tokens: expected a number")
    if not 1 <= n_tokens <= MAX_TOKENS:
        raise _refused(f"max_response_tokens: expected a number from 1 to {MAX_TOKENS}")
    return prompt, int(n_tokens)


def _refused(why: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=json.dumps({"error": why}), content_type="application/json")


async def serve(env: Mapping[str, str]) -> None:
    """Listen, say so, and serve until cancelled."""
    runner = web.AppRunner(ModelServer().application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(
        runner, "127.0.0.1", urlsplit(env.get("MODEL_SERVER_URL") or URL).port
    ).start()
    print(LOADED, flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> int:
    """Serve until the process is ended."""
    asyncio.run(serve(os.environ))
    return 0


if __name__ == "__main__":
    sys.exit(main())
