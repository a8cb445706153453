"""The proxy spends its key for its own callers: no foreign page, in OpenAI's form, real names."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from ballast.proxy.guard import ForeignRequestError, Guard
from ballast.proxy.runner import ProxyRunner
from ballast.proxy.server import ProxySettings, make_application
from chalicelib.wire.model_answers import MODEL_ANSWER, SERVED_MODELS
from fakes.control_plane_server import ControlPlaneServer
from tests.workers.world import serve
from workers.openai.server import BACK_END as OPENAI
from workers.tgi.server import BACK_END as TGI

CHAT = "/v1/chat/completions"
BODY = {"model": "any", "messages": [{"role": "user", "content": "Hi"}]}


@dataclass
class WorkerScript:
    """Answers whatever it is told to; counts."""

    status: int = 200
    words: str = "ok"
    is_models: bool = True
    body: object = None  # of an error, instead of OpenAI's form with the words
    payloads: list[dict[str, object]] = field(default_factory=list)

    def application(self) -> web.Application:
        """Every path."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.Response:
        """As told."""
        self.payloads.append((await request.json())["payload"])
        headers = {SERVED_MODELS: "tiny,my-lora", "X-Request-Id": "r1", "Retry-After": "7"}
        if self.status >= 400 and self.is_models:
            headers[MODEL_ANSWER] = "1"
        words = f"{self.words} {len(self.payloads)}"
        body = self.body or {"error": {"message": words} if self.is_models else words}
        if isinstance(body, bytes):
            kind = "application/json"
            return web.Response(body=body, status=self.status, headers=headers, content_type=kind)
        return web.json_response(body, status=self.status, headers=headers)


@dataclass
class Proxied:
    url: str
    http: aiohttp.ClientSession
    worker: WorkerScript

    async def post(
        self, path: str = CHAT, body: object = BODY, **headers: str
    ) -> tuple[int, dict[str, object]]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **headers}
        async with self.http.post(self.url + path, data=io.BytesIO(data), headers=sent) as answer:
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def proxied(
    worker: WorkerScript, api_key: str = "k", timeout_s: float = 20.0
) -> AsyncIterator[Proxied]:
    control_plane = ControlPlaneServer()
    async with (
        serve(worker.application()) as worker_url,
        serve(control_plane.application()) as url,
        aiohttp.ClientSession() as http,
    ):
        control_plane.next_grant = lambda body: {
            "url": worker_url, "request_idx": 5, "signature": "s", "cost": body["cost"],
        }  # fmt: skip
        settings = ProxySettings(url=url, endpoint="Chat", api_key=api_key, timeout_s=timeout_s)
        app = make_application(settings)
        async with serve(app, ProxyRunner(app, 0.1)) as proxy_url:
            yield Proxied(proxy_url, http, worker)


FOREIGN = {
    "a form or fetch without preflight": {"Content-Type": "text/plain"},
    "a page elsewhere": {"Origin": "https://evil.example"},
    "a sandboxed page": {"Origin": "null"},
    "a name that points here": {"Host": "evil.example"},
    "both": {"Host": "evil.example:8090", "Origin": "http://evil.example:8090"},
    "no type": {"Content-Type": "application/x-www-form-urlencoded"},
}


@pytest.mark.parametrize("how", FOREIGN)
async def test_a_foreign_page_spends_nothing(how: str) -> None:
    async with proxied(WorkerScript()) as it:
        status, body = await it.post(**FOREIGN[how])
        assert status in (403, 415)
        assert isinstance(body["error"], dict)
        assert it.worker.payloads == []


CHAT_LINE = f"POST {CHAT} HTTP/1.1"
TRICKS = {
    "two origins": (CHAT_LINE, ["Host: localhost", "Origin: http://localhost", "Origin: http://e"]),
    "a proxy's target": (f"POST http://evil.example{CHAT} HTTP/1.1", ["Host: localhost"]),
    "its Host": (f"POST http://localhost{CHAT} HTTP/1.1", ["Host: evil.example"]),
    "another type first": (
        CHAT_LINE,
        ["Host: localhost", "Content-Type: text/plain, application/json"],
    ),
    "an upgrade": (f"GET {CHAT} HTTP/1.1", ["Host: localhost", "Upgrade: websocket"]),
    "a semicolon": (f"POST {CHAT};x HTTP/1.1", ["Host: localhost"]),
    "a dot": ("POST /v1/%2e%2e/v1/chat/completions HTTP/1.1", ["Host: localhost"]),
    "a coded slash": ("POST /v1/chat%2Fcompletions HTTP/1.1", ["Host: localhost"]),
    "other letters": (f"POST {CHAT.upper()} HTTP/1.1", ["Host: localhost"]),
}


@pytest.mark.parametrize("how", TRICKS)
async def test_no_trick_of_the_wire_gets_past_the_guard(how: str) -> None:
    line, headers = TRICKS[how]
    is_typed = any(header.startswith("Content-Type") for header in headers)
    headers = headers if is_typed else [*headers, "Content-Type: application/json"]
    body = json.dumps(BODY)
    async with proxied(WorkerScript()) as it:
        host, port = it.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        ends = [f"Content-Length: {len(body)}", "Connection: close", "", body]
        writer.write("\r\n".join([line, *headers, *ends]).encode())
        status = int((await reader.readline()).split()[1])
        writer.close()
        assert 400 <= status < 500
        assert it.worker.payloads == []


async def test_pages_of_this_machine_and_named_ones_may() -> None:
    guard = Guard(frozenset({"gpu.lan"}), frozenset({"https://chat.example"}))
    for headers in (
        {"Host": "127.0.0.1:8090"},
        {"Host": "localhost:8090", "Origin": "http://localhost:3000"},
        {"Host": "192.168.1.5:8090"},
        {"Host": "[::1]:8090"},
        {"Host": "gpu.lan", "Origin": "https://chat.example"},
    ):
        guard.check(headers)
    for headers in (
        {},
        {"Host": "x@localhost.evil.example"},
        {"Host": "gpu.lan", "Origin": "https://chat.example.evil"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Host": "evil.example@127.0.0.1"},
        {"Host": "127.0.0.1, evil.example"},
        {"Host": "127.0.0.1/evil.example"},
        *(
            {"Host": "localhost", "Origin": origin}
            for origin in (
                *("", "file://", "http://[::ffff:6.6.6.6]", "https://evil.example@localhost"),
                *("https://evil.example\\@localhost", "http://localhost https://evil.example"),
                *("http://localhost, https://evil.example", "http://localhost/evil.example"),
            )
        ),
    ):
        with pytest.raises(ForeignRequestError):
            guard.check(headers)


async def test_a_browsers_question_is_answered() -> None:
    async with proxied(WorkerScript()) as it:
        asked = {
            "Origin": "http://localhost:3000",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type",
        }
        async with it.http.options(it.url + CHAT, headers=asked) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
        headers = {"Origin": "http://localhost:3000"}
        async with it.http.post(it.url + CHAT, json=BODY, headers=headers) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
            assert answer.headers["X-Request-Id"] == "r1"  # headers pass as they are


async def test_names_that_no_server_knows_are_left_out_and_real_ones_are_listed() -> None:
    async with proxied(WorkerScript()) as it:
        for name in ("any", "Chat", "", "tiny"):
            assert (await it.post(body={**BODY, "model": name}))[0] == 200
        assert [payload.get("model") for payload in it.worker.payloads] == [
            None,
            None,
            None,
            "tiny",
        ]
        async with it.http.get(it.url + "/v1/models") as answer:
            listed = [row["id"] for row in (await answer.json())["data"]]
        assert listed == ["Chat", "tiny", "my-lora"]
        for name, status in (("Chat", 200), ("my-lora", 200), ("gpt-4o", 404)):
            async with it.http.get(f"{it.url}/v1/models/{name}") as answer:
                assert answer.status == status


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/completions/x", "/nowhere"])
async def test_every_error_has_openais_form(path: str) -> None:
    async with proxied(WorkerScript()) as it:
        status, body = await it.post(path)
        assert (status, "message" in dict(body["error"])) == (404, True)  # type: ignore[call-overload]
        deep = b'{"prompt": ' + b"[" * 500 + b"]" * 500 + b"}"  # JSON, but for no cost rule
        for bad in (b"[" * 200_000, deep):
            status, body = await it.post(body=bad)
            assert (status, "error" in body) == (400, True)
        assert (await it.post("/v1//chat/completions/"))[0] == 200


def raw(more: str = "", body: str = "{}", line: str = f"POST {CHAT} HTTP/1.1") -> bytes:
    """A request as it goes over the wire, with these lines in its head."""
    head = f"{line}\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Connection: close\r\n\r\n{body}".encode("latin-1")


UNREADABLE = {
    "a long header": (400, raw("X-Long: " + "a" * 9000 + "\r\n")),
    "a long path": (400, raw(line="GET /" + "a" * 9000 + " HTTP/1.1")),
    "too many headers": (400, raw("".join(f"X{n}: 1\r\n" for n in range(500)))),
    "an odd Expect": (417, raw("Expect: 200-ok\r\nContent-Length: 2\r\n")),
    "an odd Expect of an unknown path": (417, raw("Expect: x\r\n", "", "POST /x HTTP/1.1")),
    "two lengths": (400, raw("Content-Length: 2\r\nContent-Length: 3\r\n")),
    "a negative length": (400, raw("Content-Length: -2\r\n")),
    "a length beyond all bounds": (413, raw("Content-Length: 99999999999\r\n")),
    "a bad chunk": (400, raw("Transfer-Encoding: chunked\r\n", "zz\r\n")),
    "a bad second chunk": (400, raw("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\nzz\r\n")),
    "a method that is none": (400, raw(line=f"B@D {CHAT} HTTP/1.1")),
    "another version": (400, raw(line="GET / HTTP/9.9")),
    "no HTTP": (400, b"\x16\x03\x01\x02\x00" + b"x" * 200),
    "a NUL": (400, raw("X-A: a\x00b\r\n")),
    "an address that is none": (400, raw(line="GET http://[::1 HTTP/1.1")),
    **{f"a body in {name}": (415, raw(f"Content-Encoding: {name}\r\nContent-Length: 2\r\n"))
       for name in ("br", "zstd", "gzip", "deflate", "x")},
}  # fmt: skip


async def test_what_never_reaches_a_handler_is_told_in_openais_form() -> None:
    async with proxied(WorkerScript()) as it:
        port = int(it.url.rpartition(":")[2])
        for what, (status, sent) in UNREADABLE.items():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            n_bytes = head.partition("Content-Length: ")[2].partition("\r")[0]
            body = json.loads(await reader.readexactly(int(n_bytes)))
            writer.close()
            assert int(head.split()[1]) == status, what
            assert "application/json" in head, what
            error = body["error"]
            assert error["type"] == "invalid_request_error", what
            assert 0 < len(error["message"]) <= 200, what
        assert it.worker.payloads == []
        assert (await it.post())[0] == 200


async def test_every_path_of_the_workers_passes() -> None:
    """Front ends differ in which of vLLM's five paths they rerank with."""
    paths = {p for back_end in (OPENAI, TGI) for r in back_end.routes for p in (r.path, *r.aliases)}
    assert {"/rerank", "/v2/rerank", "/score", "/generate"} <= paths
    async with proxied(WorkerScript()) as it:
        for path in sorted(paths):
            assert ((await it.post(path))[0], (await it.post("/Chat" + path))[0]) == (200, 200), (
                path
            )


async def test_a_key_may_come_under_any_spelling_of_bearer() -> None:
    async with proxied(WorkerScript(), api_key="") as it:
        assert (await it.post(Authorization="bearer blk.x"))[0] == 200
        assert (await it.post())[0] == 401


@pytest.mark.parametrize(("status", "n_asked"), [(501, 1), (500, 2), (400, 1)])
async def test_a_model_servers_no_is_passed_on_in_seconds(status: int, n_asked: int) -> None:
    """llama.cpp: 501 to embeddings, 500 to an image; they were repeated for ten minutes."""
    worker = WorkerScript(status=status, words="image input is not supported")
    async with proxied(worker, timeout_s=600.0) as it:
        answered, body = await it.post()
        assert (answered, len(worker.payloads)) == (status, n_asked)
        assert "image input is not supported" in str(body["error"])


async def test_a_full_model_server_is_asked_again_and_its_words_are_the_last() -> None:
    worker = WorkerScript(status=503, words="the engine is busy")
    async with proxied(worker, timeout_s=2.0) as it:
        status, body = await it.post()
        assert (status, "busy" in str(body["error"])) == (503, True)
        assert len(worker.payloads) > 2


async def test_a_workers_own_troubles_go_on_to_others() -> None:
    """Its words are no model server's: nobody may conclude that others would say the same."""
    worker = WorkerScript(status=502, is_models=False)
    async with proxied(worker, timeout_s=3.0) as it:
        await it.post()
        assert len(worker.payloads) > 2


FORMS = {
    "TGI": (424, {"error": "the prompt is odd", "error_type": "generation"}),
    "an older vLLM": (500, {"object": "error", "message": "the prompt is odd", "code": 500}),
    "llama.cpp": (500, {"error": {"message": "the prompt is odd", "code": 500}}),
}


@pytest.mark.parametrize("server", FORMS)
async def test_a_model_servers_error_keeps_its_words_and_headers(server: str) -> None:
    status, body = FORMS[server]
    async with proxied(WorkerScript(status=status, body=body)) as it:
        async with it.http.post(it.url + CHAT, json=BODY) as answer:
            error = (await answer.json())["error"]
            assert (answer.status, error["message"]) == (status, "the prompt is odd")
            assert (answer.headers["Retry-After"], answer.headers["X-Request-Id"]) == ("7", "r1")
        kind = "server_error" if status >= 500 else "invalid_request_error"
        assert error.get("type", kind) == kind


async def test_a_model_servers_error_passes_byte_for_byte() -> None:
    body = b'{"error":{"code":400,"message":"\\u00e9 \xc3\xa9","n":1.0},  "x":[ ]}\n'
    async with (
        proxied(WorkerScript(status=400, body=body)) as it,
        it.http.post(it.url + CHAT, json=BODY) as answer,
    ):
        assert (answer.status, await answer.read()) == (400, body)


async def test_tgis_own_clients_read_its_errors_as_it_wrote_them() -> None:
    told = {"error": "Input validation error: `inputs` is odd", "error_type": "validation"}
    async with proxied(WorkerScript(status=422, body=told)) as it:
        for path in ("/generate", "/Chat/generate_stream"):
            assert await it.post(path, {"inputs": "x"}) == (422, told)
