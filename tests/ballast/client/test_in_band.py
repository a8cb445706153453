"""Errors under a status of 200 are errors: in the SDK, the example clients and the load test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import web

import workers.comfyui.client
import workers.openai.client
import workers.tgi.client
from ballast.client.errors import ModelFailedError
from ballast.client.in_band import ErrorWatch
from ballast.client.sdk import Client
from ballast.loadtest.arrivals import even
from ballast.loadtest.engine import LoadRun, Target, Workload
from ballast.loadtest.results import Summary, summarise
from tests.ballast.client.world import Servers, served, servers
from workers.openai.answers import READING as OPENAI
from workers.tgi.answers import READING as TGI

EVIDENCE = Path(__file__).parents[2] / "evidence" / "models"
EVENTS, JSON = "text/event-stream; charset=utf-8", "application/json"
KILLED = json.loads((EVIDENCE / "vllm-0.32.0.json").read_text())["exchanges"]
ENGINE_KILLED = KILLED["stream_engine_killed"]["answer"].encode()
TGI_WHOLE = json.loads((EVIDENCE / "published.json").read_text())["tgi"]["stream_error"]
FAILED = {
    "vllm_stream": (EVENTS, ENGINE_KILLED),
    "vllm_stream_after_text": (EVENTS, b'data: {"choices":[{"text":"a"}]}\n\n' + ENGINE_KILLED),
    "tgi_stream": (EVENTS, f"data:{json.dumps(TGI_WHOLE)}\n\n".encode()),
    "tgi_stream_cut_short": (EVENTS, f"data:{json.dumps(TGI_WHOLE)}".encode()),
    "tgi_whole": (JSON, json.dumps(TGI_WHOLE).encode()),
    "wrapper": (JSON, b'{"status": "FAILED", "error": "\'handler\'"}'),
    "older_vllm": (JSON, b'{"object":"error","message":"no","type":"invalid_request_error"}'),
    "responses": (
        EVENTS,
        b'event: response.failed\r\ndata: {"type":"response.failed","response":'
        b'{"status":"failed","error":{"code":"server_error","message":"lost"}}}\r\n\r\n',
    ),
    "event_named_error": (EVENTS, b"event: error\ndata: the engine is gone\n\n"),
}
WELL = {
    "null_error": (JSON, b'{"error": null, "output": "x"}'),
    "text_of_errors": (
        EVENTS,
        b'data: {"choices":[{"text":"\\"error\\": {}"}]}\n\ndata: [DONE]\n\n',
    ),
    "list": (JSON, b'[{"generated_text": "error"}]'),
    "log_of_errors": (JSON, b'{"choices":[{"message":{"content":"{\\"error\\": 1}"}}]}'),
    "long": (JSON, b'{"error": "' + b"x" * 300_000 + b'"}'),
}


@contextmanager
def answering(it: Servers, kind: str, body: bytes) -> Iterator[None]:
    """A worker that answers everything with this."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        await response.write(body)
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    with served(app) as url:
        it.control_plane.next_grant = lambda asked: {**it.grant(asked), "url": url}
        yield


@pytest.fixture(scope="module")
def it() -> Iterator[Servers]:
    with servers() as running:
        yield running


@pytest.mark.parametrize("name", FAILED)
def test_the_sdk_raises_what_the_model_server_says_after_the_last_byte(
    it: Servers, name: str
) -> None:
    kind, body = FAILED[name]
    with answering(it, kind, body), Client("k", it.control_plane_url) as client:
        received: list[bytes] = []
        with client.request("e", "/x", {}) as answer, pytest.raises(ModelFailedError) as failed:
            received.extend(answer.chunks())
        assert b"".join(received) == body
        assert failed.value.words.strip()
        with client.request("e", "/x", {}) as answer, pytest.raises(ModelFailedError):
            answer.json()


@pytest.mark.parametrize("name", WELL)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_only_speaks_of_errors_is_none(name: str, step: int) -> None:
    kind, body = WELL[name]
    body = body if step > 1 else body[:5000]
    watch = ErrorWatch(kind)
    for at in range(0, len(body), step):
        watch.take(body[at : at + step])
    assert watch.end() == ""


@pytest.mark.parametrize("name", FAILED)
@pytest.mark.parametrize("step", [1, 7])
def test_however_the_bytes_are_cut(name: str, step: int) -> None:
    kind, body = FAILED[name]
    watch = ErrorWatch(kind)
    for at in range(0, len(body), step):
        watch.take(body[at : at + step])
    assert watch.end()


@pytest.mark.parametrize("name", [*FAILED, *WELL])
def test_the_workers_books_and_its_clients_judge_alike(name: str) -> None:
    kind, body = {**FAILED, **WELL}[name]
    reading = TGI if name.startswith("tgi") else OPENAI
    reader, watch = reading.reader({"Content-Type": kind}), ErrorWatch(kind)
    reader.feed(body)
    watch.take(body)
    assert bool(reader.done().error) == bool(watch.end()) == (name in FAILED)


def test_a_long_stream_of_bytes_without_events_is_not_kept() -> None:
    watch = ErrorWatch("text/event-stream")
    for _ in range(64):
        watch.take(b"x" * 65536)
        assert len(watch._kept) <= 1 << 17
    watch.take(b"\n\nevent: error\ndata: gone\n\n")
    assert watch.end() == "gone"


@pytest.mark.parametrize("name", FAILED)
def test_a_load_test_against_a_broken_fleet_says_so(it: Servers, name: str) -> None:
    with answering(it, *FAILED[name]):
        summary = run_load(it)
    assert summary.by_state == {"failed": 3}
    assert summary.errors == {"ModelFailedError": 3}
    assert summary.requests_per_minute == 0


def test_an_empty_answer_is_no_answer(it: Servers) -> None:
    with answering(it, JSON, b""):
        assert run_load(it).errors == {"ModelFailedError": 3}


def run_load(it: Servers) -> Summary:
    target = Target(url=it.control_plane_url, api_key="k", endpoint="e")
    run = LoadRun(target=target, workload=Workload(route="/x", make_payload=lambda _: ({}, 1.0)))
    run.run(even(100, 3))
    run.stop()
    return summarise(run.outcomes, run.elapsed_s)


@pytest.mark.parametrize("client", [workers.openai.client, workers.tgi.client])
@pytest.mark.parametrize("name", ["vllm_stream", "tgi_stream", "tgi_whole"])
def test_the_example_clients_end_with_the_words_and_an_error(
    it: Servers, client: ModuleType, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, body = FAILED[name]
    with answering(it, kind, body):
        code = client.main(["-k", "k", "-e", "e", "-u", it.control_plane_url])
    assert code == 1
    assert "the model server failed: " in capsys.readouterr().err


def test_the_image_client_too(it: Servers, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(it, *FAILED["wrapper"]):
        code = workers.comfyui.client.main(["-k", "k", "-e", "e", "-u", it.control_plane_url])
    assert code == 1
    assert "'handler'" in capsys.readouterr().err
