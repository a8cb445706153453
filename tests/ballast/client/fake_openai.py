"""A model server that speaks OpenAI's API and always says the same."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from aiohttp import web

WORDS = ["Blue", " is", " a", " colour"]


USAGE = {"prompt_tokens": 5, "total_tokens": 9, "completion_tokens": 4}


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
        choices = [{"index": 0, "text": "x", "finish_reason": "stop"}]
        return web.json_response({"choices": choices, "usage": USAGE})

    async def _embed(self, _request: web.Request) -> web.Response:
        item = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        return web.json_response({"object": "list", "model": "m", "data": [item], "usage": USAGE})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        self.payloads.append(payload)
        if not payload["messages"]:  # tests/evidence/models/vllm-0.32.0.json, chat_no_messages
            words = "Cannot apply chat template to an empty conversation."
            error = {"message": words, "type": "BadRequestError", "param": None, "code": 400}
            return web.json_response({"error": error}, status=400)
        if not payload.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response(
                {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
                | {"choices": [choice], "usage": USAGE}
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
