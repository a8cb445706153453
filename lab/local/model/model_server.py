"""A SIMULATED model server that speaks the HTTP API of Text Generation Inference (TGI).

No model runs here: it makes up words at the speed that the rented GPU would have, so that load,
queues and benchmarks are real while the text is not. N slots generate side by side, each with one
N-th of the GPU's tokens per second; more requests wait in line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

READY_LINE = '{"level":"INFO","message":"Connected","target":"text_generation_router"}'
"""What a PyWorker waits for in TGI's log."""

WORDS = ["these", "are", "simulated", "words", "and", "no", "model", "has", "written", "them"]
DEFAULT_MAX_NEW_TOKENS = 20
DEFAULT_SLOTS = 10
STEP_S = 0.05  # tokens come in steps at least this far apart, as a busy GPU's batches do


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast the pretended GPU is."""

    tokens_per_s: float  # all slots together
    n_slots: int

    @property
    def seconds_per_token(self) -> float:
        """Of one request in its slot."""
        return self.n_slots / self.tokens_per_s


def speed_from(environment: Mapping[str, str], base_tokens_per_s: float, n_slots: int) -> Speed:
    """The speed of the machine that the market let: `RELATIVE_PERF` times the base's."""
    relative = float(environment.get("RELATIVE_PERF") or 1.0)
    return Speed(tokens_per_s=max(1.0, base_tokens_per_s * relative), n_slots=n_slots)


class ModelServer:
    """Serves made-up text at a given speed."""

    def __init__(self, speed: Speed, gpu_name: str) -> None:
        self._speed = speed
        self._gpu_name = gpu_name
        self._slots = asyncio.Semaphore(speed.n_slots)

    def application(self) -> web.Application:
        """The routes of TGI that PyWorkers and the demo use."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/health", self.health),
                web.get("/info", self.info),
                web.post("/generate", self.generate),
                web.post("/generate_stream", self.generate_stream),
            ]
        )
        return application

    async def health(self, request: web.Request) -> web.Response:
        """200 while it lives."""
        del request
        return web.Response()

    async def info(self, request: web.Request) -> web.Response:
        """What serves here, said plainly."""
        del request
        return web.json_response(
            {
                "model_id": "simulated",
                "model_device_type": f"simulated {self._gpu_name}",
                "max_concurrent_requests": self._speed.n_slots,
                "tokens_per_s": self._speed.tokens_per_s,
            }
        )

    async def generate(self, request: web.Request) -> web.Response:
        """The whole text at once."""
        n_tokens = _wanted_tokens(await request.json())
        words = [word async for step in self._steps(n_tokens) for word in step]
        return web.json_response(
            {"generated_text": "".join(words), "details": {"generated_tokens": len(words)}},
            headers={"x-generated-tokens": str(len(words))},
        )

    async def generate_stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events, one a token; the last one carries the whole text."""
        n_tokens = _wanted_tokens(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        words: list[str] = []
        async for step in self._steps(n_tokens):
            if not words:
                await response.prepare(request)  # as TGI: nothing is said before the first token
            events = []
            for word in step:
                words.append(word)
                events.append(_event(words, is_last=len(words) == n_tokens))
            await response.write("".join(events).encode())
        await response.write_eof()
        return response

    async def _steps(self, n_tokens: int) -> AsyncIterator[list[str]]:
        """Words at the speed of one slot, after waiting for one; late steps are caught up."""
        clock = asyncio.get_running_loop().time
        async with self._slots:
            started_at = clock()
            step: list[str] = []
            for index, word in zip(range(n_tokens), itertools.cycle(WORDS), strict=False):
                step.append(f" {word}")
                ahead_s = started_at + (index + 1) * self._speed.seconds_per_token - clock()
                if ahead_s > STEP_S or index == n_tokens - 1:
                    await asyncio.sleep(max(0.0, ahead_s))
                    yield step
                    step = []


def _event(words: list[str], *, is_last: bool) -> str:
    """TGI's server-sent event for the newest token."""
    index = len(words)
    event = {
        "index": index,
        "token": {"id": index, "text": words[-1], "logprob": 0.0, "special": False},
        "generated_text": "".join(words) if is_last else None,
        "details": {"generated_tokens": index} if is_last else None,
    }
    return f"data:{json.dumps(event)}\n\n"


def _wanted_tokens(body: Any) -> int:
    """`parameters.max_new_tokens` of a TGI request.

    Raises:
        web.HTTPUnprocessableEntity: what TGI does not take either: `inputs` that are no text,
            `parameters` that are no object, a number of tokens beyond 1 to 100,000.
    """
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), str):
        raise _refused("inputs: expected a string")
    parameters = body.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise _refused("parameters: expected an object")
    wanted = (parameters or {}).get("max_new_tokens") or DEFAULT_MAX_NEW_TOKENS
    if not isinstance(wanted, int) or not 1 <= wanted <= 100_000:
        raise _refused("max_new_tokens: expected a whole number from 1 to 100000")
    return wanted


def _refused(why: str) -> web.HTTPUnprocessableEntity:
    """TGI's error object."""
    body = json.dumps({"error": f"Input validation error: {why}", "error_type": "validation"})
    return web.HTTPUnprocessableEntity(text=body, content_type="application/json")


async def _serve(arguments: argparse.Namespace) -> None:
    """Load (that is: wait), serve, and say so in the log."""
    await asyncio.sleep(arguments.load_s)
    speed = speed_from(os.environ, arguments.tokens_per_s, arguments.slots)
    server = ModelServer(speed, os.environ.get("GPU_NAME", "GPU"))
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
    if arguments.log:
        with arguments.log.open("a") as log:
            log.write(READY_LINE + "\n")
    else:
        print(READY_LINE, flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.local.model.model_server", description=__doc__
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tokens-per-s", type=float, default=1000.0, help="at RELATIVE_PERF 1")
    parser.add_argument("--slots", type=int, default=DEFAULT_SLOTS)
    parser.add_argument("--load-s", type=float, default=0.0, help="pretended loading time")
    parser.add_argument("--log", type=Path, help="TGI's log file, which the PyWorker tails")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
