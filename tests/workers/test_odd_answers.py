"""Model servers whose answers are none, under a status of 200 and behind a good health route."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from chalicelib.wire.model_answers import MODEL_SERVER
from tests.workers.test_misbehaving import QUICK, all_errors, no_error
from tests.workers.world import World, loading, serve
from workers.openai.server import BACK_END

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models"
PUBLISHED = json.loads((EVIDENCE / "published.json").read_text())
VLLM = json.loads((EVIDENCE / "vllm-0.32.0.json").read_text())
CHAT = "/v1/chat/completions"
GOOD = {"choices": [{"message": {"content": "hi"}}], "usage": {"completion_tokens": 5}}
EVENTS = (
    b"".join(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n' for _ in range(7))
    + b"data: [DONE]\n\n"
)
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def body(data: bytes, kind: str = "application/json", **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=data, headers={"Content-Type": kind, **headers})

    return answer


def status(number: int, words: str = "no", **headers: str) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": words}}, status=number, headers=headers)

    return answer


async def short(request: web.Request) -> web.StreamResponse:
    """Fewer bytes than it says, then the connection ends."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = 500
    await response.prepare(request)
    await response.write(b'{"choices"')
    if request.transport:
        request.transport.close()
    return response


good = body(json.dumps(GOOD).encode())


class OddServer:
    """Answers every POST, and its health route, as it is told."""

    def __init__(self) -> None:
        self.answer: Answer = good
        self.health: Answer = status(200)
        self.models: Answer = status(404)

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._post)
        app.router.add_get("/{path:.*}", self._get)
        return app

    async def _post(self, request: web.Request) -> web.StreamResponse:
        return await self.answer(request)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/models":
            return await self.models(request)
        return await self.health(request) if request.path == "/health" else web.Response(status=404)


@asynccontextmanager
async def odd(folder: Path, models: Answer | None = None) -> AsyncIterator[tuple[World, OddServer]]:
    """A ready worker of such a server."""
    server = OddServer()
    server.models = models or server.models
    async with (
        serve(server.application()) as url,
        loading(
            folder, BACK_END.with_benchmark("", 1, 1), patience=QUICK, MODEL_SERVER_URL=url
        ) as it,
    ):
        await it.until(it.is_ready, "ready")
        assert (await it.post(CHAT, payload={"messages": []}))[0] == 200
        await it.until(lambda: it.counters()["n_served"] == 1, "told")
        yield it, server


@pytest.mark.parametrize(
    "answer",
    [
        body(b"<html><h1>502 Bad Gateway</h1></html>", "text/html; charset=utf-8"),
        body(b""),
        body(b'{"choices": [{"mess'),
        body(b"Internal Server Error"),
        body(b"{}"),  # where answers told their usage
        body(b"", "text/event-stream"),
        body(b": keep-alive\n\n", "text/event-stream"),
        body(b"not packed at all", **{"Content-Encoding": "gzip"}),
        short,
        status(307, Location="/elsewhere"),
        status(302, Location="https://login.example/"),
        status(404, "model not loaded"),
        status(401, "invalid API key"),
        status(429, "queue is full"),
        status(503, "too many requests"),
    ],
)
async def test_an_engine_that_answers_nothing_is_found_behind_a_good_health_route(
    tmp_path: Path, answer: Answer
) -> None:
    async with odd(tmp_path) as (it, server):
        server.answer = answer
        async with asyncio.timeout(30):
            while it.counters()["max_perf"]:
                with suppress(aiohttp.ClientError):  # broken off
                    # What is no answer does not look like one; `{}` may be one for all we know.
                    got = await it.post(CHAT, payload={"messages": []})
                    assert got[0] >= 400 or got[1] == b"{}"
                await asyncio.sleep(0.05)
        assert "the model server's answers fail" in all_errors(it)
        server.answer = good
        await it.until(lambda: it.counters()["max_perf"], "it serves again", 30)


@pytest.mark.parametrize("number", [400, 404, 422, 429, 503])
async def test_a_server_that_refuses_one_client_only_serves_on(tmp_path: Path, number: int) -> None:
    async with odd(tmp_path) as (it, server):

        async def answer(request: web.Request) -> web.StreamResponse:
            is_bad = "bad" in await request.text()
            return await (status(number, "queue is full") if is_bad else good)(request)

        server.answer = answer
        for _ in range(25):
            assert (await it.post(CHAT, payload={"messages": ["bad"]}))[0] == number
        assert (await it.post(CHAT, payload={"messages": []}))[0] == 200
        assert no_error(it)


async def test_refusals_between_failures_do_not_hide_a_dead_engine(tmp_path: Path) -> None:
    """The API server still checks requests; whatever reaches its engine fails."""
    async with odd(tmp_path) as (it, server):

        async def answer(request: web.Request) -> web.StreamResponse:
            is_bad = "bad" in await request.text()
            return await status(400 if is_bad else 500)(request)

        server.answer = answer
        async with asyncio.timeout(30):
            while it.counters()["max_perf"]:
                for messages in ([], ["bad"], ["bad"]):
                    await it.post(CHAT, payload={"messages": messages})
                await asyncio.sleep(0.05)
        assert "answers fail: 500" in all_errors(it)


def packed(data: bytes, encoding: str) -> Answer:
    whole = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    kind = "text/event-stream" if data.startswith(b"data:") else "application/json"

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind, "Content-Encoding": encoding})
        await response.prepare(request)
        for at in range(0, len(whole), 7):
            await response.write(whole[at : at + 7])
        await response.write_eof()
        return response

    return answer


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize(("data", "work"), [(EVENTS, 7.0), (json.dumps(GOOD).encode(), 5.0)])
async def test_a_server_that_packs_though_it_is_asked_not_to_is_booked_and_passed_on(
    tmp_path: Path, encoding: str, data: bytes, work: float
) -> None:
    async with odd(tmp_path) as (it, server):
        server.answer = packed(data, encoding)
        request = {"auth_data": it.ticket(), "payload": {"messages": []}}
        async with it.http.post(it.worker.settings.url + CHAT, json=request) as answer:
            assert answer.headers["Content-Encoding"] == encoding
            assert await answer.read() == data
        await it.until(lambda: it.counters()["served_workload"] == 5 + work, "booked", 10)


async def test_a_packing_server_is_measured(tmp_path: Path) -> None:
    server = OddServer()
    server.answer = packed(json.dumps(GOOD).encode(), "gzip")
    back_end = BACK_END.with_benchmark("", 1, 1)
    async with (
        serve(server.application()) as url,
        loading(tmp_path, back_end, patience=QUICK, MODEL_SERVER_URL=url) as it,
    ):
        await it.until(it.is_ready, "ready")
        assert it.counters()["max_perf"], "its answers were read and weighed"


@pytest.mark.parametrize(
    ("health", "is_ready"),
    [
        (status(302, Location="/ready"), True),
        (status(302, Location="http://127.0.0.1:9/ready"), False),
        (status(302, Location="/health"), False),
    ],
)
async def test_a_health_route_is_followed_on_the_same_server_alone(
    tmp_path: Path, health: Answer, is_ready: bool
) -> None:
    async def get(request: web.Request) -> web.StreamResponse:
        return await (status(200) if request.path == "/ready" else health)(request)

    app = web.Application()
    app.router.add_post("/{path:.*}", good)
    app.router.add_get("/{path:.*}", get)
    quick = replace(QUICK, health_timeout_s=1.0)
    async with (
        serve(app) as url,
        loading(
            tmp_path, BACK_END.with_benchmark("", 1, 1), patience=quick, MODEL_SERVER_URL=url
        ) as it,
    ):
        if is_ready:
            await it.until(it.is_ready, "ready")
        else:
            await asyncio.sleep(1.5)
            assert not it.control_plane.reports or not it.counters().get("max_perf")


@pytest.mark.parametrize(
    "usage", [10**400, -5, "7", True, None, 1e308, 12.0, [5]], ids=lambda usage: str(usage)[:9]
)
async def test_a_made_up_usage_breaks_nothing(tmp_path: Path, usage: object) -> None:
    async with odd(tmp_path) as (it, server):
        answer = json.dumps({**GOOD, "usage": {"completion_tokens": usage}}).encode()
        server.answer = body(answer)
        code, data = await it.post(CHAT, payload={"messages": []})
        assert (code, data) == (200, answer)
        await it.until(lambda: it.counters()["n_served"] == 2, "it is served")
        assert float(str(it.counters()["served_workload"])) <= 2e9


def told(reason: str | None, text: str = "x") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


PART, LAST = told(None, '"finish_reason":"stop" — ä'), told("length")
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":9}}\n\n'
OF_A_RESPONSE = (
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta"}\n\n'
)
END_OF_A_RESPONSE = b'data: {"type":"response.completed","response":{"usage":null}}\n\n'


def in_pieces(data: bytes, piece: int) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at in range(0, len(data), piece):
            await response.write(data[at : at + piece])
            await asyncio.sleep(0.002)
        await response.write_eof()
        return response

    return answer


@pytest.mark.parametrize(
    ("events", "is_whole"),
    [
        (PART + PART, False),
        (PART + USAGE, False),
        (b": keep-alive\n\n" + PART + b": keep-alive\n\n", False),
        (OF_A_RESPONSE, False),
        (PART + LAST, True),  # a reason is an end, also without `[DONE]`
        (PART + LAST + USAGE, True),
        (PART + b"data: [DONE]\n\n", True),
        ((PART + b"data: [DONE]\n\n").replace(b"\n", b"\r\n"), True),
        (PART + b"data:[DONE]", True),
        (OF_A_RESPONSE + END_OF_A_RESPONSE, True),
    ],
)
async def test_a_stream_that_stops_before_its_end_is_an_error_and_looks_like_one(
    tmp_path: Path, events: bytes, is_whole: bool
) -> None:
    """The connection ends well, the server noticed nothing, and half an answer looked whole."""
    async with odd(tmp_path) as (it, server):
        server.answer = body(events, "text/event-stream")
        assert (await it.post(CHAT, payload={"messages": []}))[0] == (200 if is_whole else 502)
        server.answer = in_pieces(events, 13)
        request = {"auth_data": it.ticket(), "payload": {"messages": []}}
        got = b""
        async with it.http.post(it.worker.settings.url + CHAT, json=request) as answer:
            with suppress(aiohttp.ClientPayloadError):
                async for piece in answer.content.iter_any():
                    got += piece
            assert (answer.content.exception() is None) == is_whole
        assert got == events
        name = "n_served" if is_whole else "n_errored"
        n = 3 if is_whole else 2
        await it.until(lambda: it.counters()[name] == n, "booked", 10)


@pytest.mark.parametrize(
    ("models", "name"),
    [
        (VLLM["exchanges"]["models"]["answer"].encode(), "vllm"),
        (PUBLISHED["sglang"]["models"].encode(), "sglang"),
        (b'{"data": [{"id": "m", "owned_by": "a\\r\\nSet-Cookie: b=1"}]}', None),
        (b'{"data": [{"id": "m", "owned_by": 7}]}', None),
        (b'{"data": [{"id": "m"}]}', None),
        (b'{"data": []}', None),
        (b"[]", None),
    ],
)
async def test_callers_learn_which_server_answers_by_its_own_word(
    tmp_path: Path, models: bytes, name: str | None
) -> None:
    """So a client knows where a chat goes on with `continue_final_message`."""
    async with odd(tmp_path, body(models)) as (it, _):
        request = {"auth_data": it.ticket(), "payload": {"messages": []}}
        async with it.http.post(it.worker.settings.url + CHAT, json=request) as got:
            assert got.headers.get(MODEL_SERVER) == name


async def test_headers_pass_as_often_as_they_came_and_cookies_are_kept_for_nobody(
    tmp_path: Path,
) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.Response(body=json.dumps(GOOD).encode(), content_type="application/json")
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        response.headers["Seen"] = request.headers.get("Cookie", "none")
        return response

    async with odd(tmp_path) as (it, server):
        server.answer = answer
        for _ in range(2):
            request = {"auth_data": it.ticket(), "payload": {"messages": []}}
            async with it.http.post(it.worker.settings.url + CHAT, json=request) as got:
                assert got.headers.getall("Set-Cookie") == ["a=1", "b=2"]
                assert got.headers["Seen"] == "none"  # one client's cookie is not the next one's


async def test_a_switch_of_protocols_is_no_answer(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.transport:
            request.transport.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
            request.transport.close()
        return web.Response()

    async with odd(tmp_path) as (it, server):
        server.answer = answer
        assert (await it.post(CHAT, payload={"messages": []}))[0] == 502
