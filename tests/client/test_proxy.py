"""The official `openai` client, unmodified, completes and streams through the one-step proxy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import openai
import pytest
from aiohttp import web

from client.proxy.server import ProxySettings, make_application
from tests.client.world import LoopThread, wait_until
from tests.workers.world import World, serve, world
from workers.openai.server import BACK_END

WORDS = ["Blue", " is", " a", " colour"]


@dataclass
class FakeOpenAi:
    """Answers as an OpenAI-compatible model server does."""

    payloads: list[dict[str, object]] = field(default_factory=list)
    n_chunks: int = 0

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/embeddings", self._embed)
        return app

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _complete(self, _request: web.Request) -> web.Response:
        return web.json_response({"choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]})

    async def _embed(self, _request: web.Request) -> web.Response:
        item = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        return web.json_response({"object": "list", "model": "m", "data": [item], "usage": {}})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        self.payloads.append(payload)
        if not payload.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response(
                {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
                | {"choices": [choice]}
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for word in WORDS * (250 if payload.get("max_tokens") == 1000 else 1):
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
            event = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
            await response.write(f"data: {json.dumps(event | {'choices': [choice]})}\n\n".encode())
            self.n_chunks += 1
            await asyncio.sleep(0.02)
        await response.write(b"data: [DONE]\n\n")
        return response


@dataclass
class Running:
    """A proxy, the world behind it, and the model."""

    url: str
    world: World
    model: FakeOpenAi
    closing: ExitStack

    def client(self, path: str = "/v1", api_key: str = "blk.caller") -> openai.OpenAI:
        client = openai.OpenAI(base_url=self.url + path, api_key=api_key, max_retries=0)
        self.closing.callback(client.close)
        return client


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Running]:
    quick = replace(BACK_END, benchmark=replace(BACK_END.benchmark, n_rounds=1, concurrency=1))
    model = FakeOpenAi()
    with LoopThread() as loop, ExitStack() as stack:

        def enter(context: object) -> object:
            enter_it, leave_it = context.__aenter__, context.__aexit__  # type: ignore[attr-defined]
            stack.callback(
                lambda: asyncio.run_coroutine_threadsafe(leave_it(None, None, None), loop).result(
                    60
                )
            )
            return asyncio.run_coroutine_threadsafe(enter_it(), loop).result(60)

        model_url = str(enter(serve(model.application())))
        it = enter(world(tmp_path, quick, MODEL_SERVER_URL=model_url))
        assert isinstance(it, World)
        it.control_plane.next_grant = lambda body: it.ticket(
            cost=body["cost"], endpoint=body["endpoint"]
        )
        settings = ProxySettings(url=it.worker.settings.control_plane.url, endpoint="TGI-Llama3")
        url = str(enter(serve(make_application(settings))))
        yield Running(url, it, model, stack)


MESSAGES = [{"role": "user", "content": "Name a colour."}]


def test_a_chat_completes(proxy: Running) -> None:
    answer = proxy.client().chat.completions.create(model="any", messages=MESSAGES, max_tokens=32)
    assert answer.choices[0].message.content == "Blue is a colour"
    assert proxy.model.payloads == [{"messages": MESSAGES, "model": "any", "max_tokens": 32}]
    assert proxy.world.control_plane.routes[0]["cost"] == 32
    assert proxy.world.control_plane.route_authorizations == ["Bearer blk.caller"]


def test_a_chat_streams(proxy: Running) -> None:
    stream = proxy.client().chat.completions.create(model="any", messages=MESSAGES, stream=True)
    assert [event.choices[0].delta.content for event in stream] == WORDS


def test_embeddings_and_any_endpoint_group_by_its_path(proxy: Running) -> None:
    answer = proxy.client("/Embedder/v1").embeddings.create(
        model="m", input="hello", encoding_format="float"
    )
    assert answer.data[0].embedding == [0.5, 0.25]
    assert proxy.world.control_plane.routes[-1]["endpoint"] == "Embedder"
    assert [m.id for m in proxy.client("/Embedder/v1").models.list()] == ["Embedder"]


def test_leaving_a_stream_cancels_it_at_the_worker(proxy: Running) -> None:
    stream = proxy.client().chat.completions.create(
        model="any", messages=MESSAGES, stream=True, max_tokens=1000
    )
    assert next(stream).choices[0].delta.content == WORDS[0]
    assert proxy.model.n_chunks < 900  # the first comes long before the last is made
    stream.close()
    reports = proxy.world.control_plane.reports
    wait_until(lambda: reports[-1]["n_cancelled"] == 1, "it is accounted")
    assert proxy.model.n_chunks < 900


def test_a_workers_words_reach_the_client(proxy: Running) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match="must be a list"):
        proxy.client().chat.completions.create(model="any", messages=[])


def test_a_refused_key_is_an_authentication_error(proxy: Running) -> None:
    proxy.world.control_plane.route_replies = [(401, {"error_msg": "invalid api_key"})]
    with pytest.raises(openai.AuthenticationError, match="invalid api_key"):
        proxy.client().chat.completions.create(model="any", messages=MESSAGES)
