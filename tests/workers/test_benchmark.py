"""Perf is what answers prove: judged, counted by what was made, and as many at once as help."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from aiohttp import web

from fakes.scripted_model_server import ScriptedModelServer
from tests.workers.world import serve
from workers.openai.server import BACK_END as OPENAI
from workers.pyworker.model.asking import open_model_session
from workers.pyworker.model.benchmark import BenchmarkError, measure_perf, try_once, warm_up
from workers.pyworker.model.forwarding import Forwarder
from workers.tgi.server import BACK_END as TGI


@dataclass
class BatchingServer:
    """Makes tokens as an engine does: so many requests in step, the others wait.

    Its time is its own: what was asked since the last look at the clock takes its steps.
    """

    max_running: int = 32
    n_asked: int = 0
    step_s: float = 0.1
    _clock: float = 0.0
    _n_timed: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        """A completion."""
        self.n_asked += 1
        del request
        usage = {"prompt_tokens": 1, "completion_tokens": 128}
        return web.json_response({"choices": [], "usage": usage})

    def application(self) -> web.Application:
        """Its one route."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self.answer)
        return app

    def now(self) -> float:
        """Seconds of the engine."""
        self._clock += math.ceil((self.n_asked - self._n_timed) / self.max_running) * self.step_s
        self._n_timed = self.n_asked
        return self._clock


@asynccontextmanager
async def asked(app: web.Application) -> AsyncIterator[Forwarder]:
    async with serve(app) as url, open_model_session() as http:
        yield Forwarder(http, url)


def saying(body: object, status: int = 200) -> web.Application:
    """Answers everything with this."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    return app


async def test_silence_is_waited_for_once_and_a_lost_connection_is_tried_again() -> None:
    """Waiting twice, what was to be dead after 28 s was told after 37 s on real vLLM."""
    server = ScriptedModelServer(is_frozen=True)
    async with asked(server.application()) as forwarder:
        trial = await try_once(TGI, forwarder, {"inputs": "x"}, 0.3)
        assert (trial.problem, len(server.bodies)) == ("the model server did not answer", 1)
        server.is_frozen = False
        broken: dict[str, object] = {"inputs": "x", "parameters": {"break_after": 0}}
        trial = await try_once(TGI, forwarder, broken, 30.0)
        assert (trial.problem, len(server.bodies)) == ("the model server did not answer", 3)


async def test_concurrency_rises_until_it_helps_no_more() -> None:
    """At eight at once vLLM was measured at half of what it makes at 64 (its own counter)."""
    engine = BatchingServer()
    quick = replace(OPENAI, benchmark=replace(OPENAI.benchmark, n_rounds=1))
    async with asked(engine.application()) as server:
        perf = await measure_perf(quick, server, lambda: {"prompt": "x"}, engine.now)
    assert perf == pytest.approx(engine.max_running * 128 / engine.step_s)
    assert engine.n_asked == 8 + 16 + 32 + 64


async def test_a_given_concurrency_is_the_only_one() -> None:
    engine = BatchingServer()
    given = OPENAI.with_benchmark("", 1, 4)
    async with asked(engine.application()) as server:
        await measure_perf(given, server, lambda: {"prompt": "x"}, engine.now)
    assert engine.n_asked == 4


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"error": "Request failed during generation"}, 200, "Request failed during generation"),
        ({"generated_text": "x"}, 200, "does not say how much was made"),
        ({"error": {"message": "The model `a` does not exist."}}, 404, "404 The model `a` does"),
        ({"detail": "Not Found"}, 404, "404 Not Found"),
    ],
)
async def test_an_answer_that_is_none_is_told_and_counts_for_nothing(
    body: object, status: int, words: str
) -> None:
    async with asked(saying(body, status)) as server:
        with pytest.raises(BenchmarkError) as caught:
            await warm_up(TGI, server, lambda: {"inputs": "x"})
        assert words in str(caught.value)
        with pytest.raises(BenchmarkError):
            await measure_perf(TGI, server, lambda: {"inputs": "x"}, time.monotonic)


async def test_a_model_that_ends_early_counts_for_what_it_made() -> None:
    """Ten of 256 tokens; asked for is not done."""
    told = {"generated_text": "x", "details": {"generated_tokens": 10}}

    async def answer(request: web.Request) -> web.Response:
        assert json.loads(await request.read())["parameters"]["details"] is True
        await asyncio.sleep(0.1)
        return web.json_response(told)

    app = web.Application()
    app.router.add_post("/generate", answer)
    quick = TGI.with_benchmark("", 1, 1)

    def make() -> dict[str, object]:
        return {"inputs": "x", "parameters": {"max_new_tokens": 256, "details": True}}

    async with asked(app) as server:
        perf = await measure_perf(quick, server, make, time.monotonic)
    assert 30 < perf <= 100


async def test_a_connection_that_was_closed_unannounced_is_tried_once_more() -> None:
    n_asked = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal n_asked
        n_asked += 1
        if n_asked % 2 and request.transport:
            request.transport.abort()
        return web.json_response({"usage": {"completion_tokens": 8}})

    app = web.Application()
    app.router.add_post("/v1/completions", answer)
    async with asked(app) as server:
        await warm_up(OPENAI, server, lambda: {"prompt": "x"})
    assert n_asked == 2
