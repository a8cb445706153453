"""`ballast call`: one request through /route/ and a real PyWorker, from the command line."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ballast.cli.models.questions import has_no_such_path
from ballast.client.errors import WorkerRefusedError
from chalicelib.wire.model_answers import MODEL_ANSWER, NO_SUCH_PATH
from fakes.comfyui_server import ComfyUIServer
from fakes.console.server import KEY, Console
from fakes.scripted_model_server import ScriptedModelServer
from lab.local.model.model_server import ModelServer, Speed
from tests.ballast.client.fake_openai import FakeOpenAi
from tests.ballast.client.test_in_band import FAILED
from tests.ballast.client.world import real_worker, served
from tests.workers.world import World
from workers.pyworker.back_end import BackEnd
from workers.pyworker.registry import load_back_end

Ballast = Callable[..., Any]
NAME = "TGI-Llama3"


def quick(name: str) -> BackEnd:
    back_end = load_back_end(name)
    benchmark = replace(back_end.benchmark, n_rounds=1, concurrency=1, max_concurrency=1)
    return replace(back_end, benchmark=benchmark)


def model_of(name: str) -> web.Application:
    if name == "tgi":
        return ModelServer(Speed(tokens_per_s=5000, n_slots=10), "GPU").application()
    if name == "openai":
        return FakeOpenAi().application()
    return (ComfyUIServer() if name == "comfyui" else ScriptedModelServer()).application()


@contextmanager
def a_worker(
    back_end: str, console: Console, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    """The console's group has this worker; its `/route/` is the world's."""
    log = folder / "model.log"
    log.write_text("To see the GUI go to: http\ninfer server has started\n")
    with real_worker(folder, quick(back_end), model_of(back_end), MODEL_LOG=str(log)) as (it, _):
        answer_of = console.answer

        def answer(call: Any, key: str) -> Any:
            if call.path != "/route/":
                return answer_of(call, key)
            console.calls.append(call)
            if "model_log_of" in call.body:
                return 200, it.ticket(cost=0, endpoint=call.body["endpoint"], reads_log=True)
            return 200, it.ticket(cost=call.body["cost"], endpoint=call.body["endpoint"])

        monkeypatch.setattr(console, "answer", answer)
        for row in console.endpoints.values():
            row["api_key"] = KEY
        wait_until_ready(it)
        yield it


def wait_until_ready(it: World) -> None:
    deadline = time.monotonic() + 60
    while not any(report.get("max_perf") for report in it.control_plane.reports):
        assert time.monotonic() < deadline, "not ready"
        time.sleep(0.02)


SAID = {
    "openai": r"^Blue is a colour\n$",
    "tgi": r"^ these are simulated words",
    "hello_world": r'^\{"prompt": "Say hello", "max_response_tokens": 9\}\n$',
}


@pytest.mark.parametrize("back_end", SAID)
def test_a_prompt_finds_the_path_of_each_back_end(
    back_end: str,
    ballast: Ballast,
    console: Console,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with a_worker(back_end, console, tmp_path, monkeypatch):
        said = ballast("call", NAME, "Say hello", "--max-tokens", "9")
    assert said.code == 0, said.err
    assert re.search(SAID[back_end], said.out), said.out
    assert re.search(r"by http://127\.0\.0\.1:\d+: .* until a worker was free", said.err)
    assert console.sent("POST", "/route/")[-1]["endpoint"] == NAME
    assert console.sent("POST", "/route/")[-1]["cost"] == 9


def test_images_are_written_to_files(
    ballast: Ballast, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pictures"
    with a_worker("comfyui", console, tmp_path, monkeypatch):
        said = ballast("call", NAME, "a lighthouse", "--out", str(out), "--seed", "7")
    assert said.code == 0, said.err
    (path,) = said.out.splitlines()
    assert Path(path).parent == out
    assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_json_has_text_worker_and_times(
    ballast: Ballast, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_worker("openai", console, tmp_path, monkeypatch) as it:
        told = ballast("call", NAME, "Hi", "--json").json()
        assert told["text"] == "Blue is a colour"
        assert told["worker"] == it.worker.settings.url
        assert told["n_workers_tried"] == 1
        assert 0 < told["first_byte_s"] <= told["total_s"]


def test_any_payload_at_any_path(
    ballast: Ballast, console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "body.json").write_text('{"input": "Hi"}')
    with a_worker("openai", console, tmp_path, monkeypatch):
        for data in ('{"input": "Hi"}', f"@{tmp_path / 'body.json'}"):
            said = ballast("call", NAME, "--path", "/v1/embeddings", "--data", data)
            assert said.code == 0, said.err
            assert json.loads(said.out)["data"][0]["embedding"] == [0.5, 0.25]
        refused = ballast(
            "call", NAME, "--path", "/v1/chat/completions", "--data", '{"messages": []}'
        )
        assert refused.code == 5
        assert "Cannot apply chat template to an empty conversation" in refused.err
        nowhere = ballast("call", NAME, "--path", "/v1/nothing", "--data", "{}")
        assert nowhere.code == 5
        assert "404" in nowhere.err
        assert "--path" in nowhere.err


@pytest.mark.parametrize(
    ("status", "body", "headers", "is_told"),
    [
        (404, b'{"error": "Not Found: POST /x"}', {NO_SUCH_PATH: "1"}, True),
        (404, b"404: Not Found", {}, True),  # aiohttp's: Ballast 0.1's, the vendor's
        (404, b"404: Not Found", {MODEL_ANSWER: "1"}, True),  # the worker has it, its server not
        (404, b'{"error": {"message": "no such model"}}', {MODEL_ANSWER: "1"}, False),
        (404, b'{"error": {"message": "no such model"}}', {}, False),  # by a worker of 0.1
        (404, b"", {NO_SUCH_PATH: "1", MODEL_ANSWER: "1"}, False),
        (422, b'{"payload": {"prompt": "missing"}}', {}, True),
        (422, b'{"payload": {"prompt": "missing"}}', {MODEL_ANSWER: "1"}, False),
        (400, b"404: Not Found", {NO_SUCH_PATH: "1"}, False),
    ],
)
def test_a_missing_path_is_told_from_other_refusals(
    status: int, body: bytes, headers: dict[str, str], is_told: bool
) -> None:
    assert has_no_such_path(WorkerRefusedError(status, body, headers)) is is_told


def route_to(url: str, console: Console) -> None:
    """Each route gives a ticket for this worker, and the groups' keys are known."""
    console.answers["/route/"] = {
        "endpoint": NAME, "url": url, "cost": 1, "reqnum": 1, "request_idx": 1,
        "signature": "s",
    }  # fmt: skip
    for row in console.endpoints.values():
        row["api_key"] = KEY


@pytest.mark.parametrize("name", ["vllm_stream", "tgi_whole"])
def test_an_error_under_200_is_a_failed_call(
    name: str, ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, body = FAILED[name]

    async def fail(_request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": kind})

    app = web.Application()
    app.router.add_post("/{path:.*}", fail)
    with served(app) as url:
        route_to(url, console)
        said = ballast("call", NAME, "Hi")
    assert said.code == 5
    assert "the model server failed: " in said.err


def test_what_cannot_be_sent_is_said_before(ballast: Ballast, console: Console) -> None:
    for words in (
        ("call", NAME),
        ("call", NAME, "Hi", "--data", "{}"),
        ("call", NAME, "--data", "{}"),
        ("call", NAME, "--path", "/x", "--data", "[1]"),
        ("call", NAME, "--path", "/x", "--data", "{"),
        ("call", NAME, "--path", "/x", "--data", "@/no/such/file"),
        ("call", NAME, "Hi", "--path", "/v1/embeddings"),
        ("call", NAME, "Hi", "--cost", "-1"),
        ("call", NAME, "Hi", "--timeout", "-5"),
    ):
        said = ballast(*words)
        assert (said.code, console.sent("POST", "/route/")) == (2, []), said.err
    for row in console.endpoints.values():
        row["api_key"] = ""
    assert ballast("call", NAME, "Hi").code == 4
    assert ballast("call", "nobody", "Hi").code == 1


@pytest.mark.parametrize(("status", "code"), [(400, 1), (401, 4), (403, 4), (404, 1)])
def test_a_refused_route_is_the_keys_fault_only_if_it_is(
    status: int, code: int, ballast: Ballast, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_of = console.answer

    def answer(call: Any, key: str) -> Any:
        return (status, {"msg": "no"}) if call.path == "/route/" else answer_of(call, key)

    monkeypatch.setattr(console, "answer", answer)
    for row in console.endpoints.values():
        row["api_key"] = KEY
    assert ballast("call", NAME, "Hi").code == code


def test_of_half_an_answer_it_says_so_on_a_line_of_its_own(
    ballast: Ballast, console: Console
) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"content": "Once upon"}}]}\n\n')
        if request.transport:
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_post("/{path:.*}", cut)
    with served(app) as url:
        route_to(url, console)
        said = ballast("call", NAME, "Hi")
    assert (said.code, said.out) == (5, "Once upon\n")
    assert said.err.startswith("ballast: the answer broke off: its connection ended\n")


def test_a_wait_that_ends_says_what_the_group_does(ballast: Ballast, console: Console) -> None:
    status = "0 of 1 workers are ready: 1 loading"
    console.answers["/route/"] = {
        "endpoint": NAME, "request_idx": 7, "status": status, "poll_after_s": 5,
    }  # fmt: skip
    for row in console.endpoints.values():
        row["api_key"] = KEY
    said = ballast("call", NAME, "Hi", "--timeout", "1s")
    assert said.code == 5
    assert status in said.err
