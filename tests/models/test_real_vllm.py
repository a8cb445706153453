"""A PyWorker in front of real vLLM on the CPU; `make test-models` sets VLLM_PYTHON and runs it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import requests

from tests.models.servers import VllmServer, free_port, make_tiny_llama
from tests.workers.world import World, world
from workers.openai.server import BACK_END
from workers.pyworker.model.engine_metrics import read_engine_metrics

PYTHON = os.environ.get("VLLM_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs VLLM_PYTHON: run `make test-models`")
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A ready one."""
    folder = tmp_path_factory.mktemp("vllm")
    python = Path(PYTHON).absolute()
    model = make_tiny_llama(python, folder / "tiny")
    # Compiling takes minutes where the cores are busy, and changes none of the answers.
    server = VllmServer(python, model, folder, free_port(), ("--enforce-eager",))
    with server.running():
        yield server


@pytest.fixture
async def worker(vllm: VllmServer, tmp_path: Path) -> AsyncIterator[World]:
    """A ready PyWorker."""
    quick = replace(BACK_END, benchmark=replace(BACK_END.benchmark, n_rounds=1))
    async with world(
        tmp_path,
        quick,
        ready_within_s=180,
        MODEL_SERVER_URL=vllm.url,
        MODEL_LOG=str(vllm.log),
        MODEL_NAME="tiny",
    ) as it:
        yield it


def chat(**fields: object) -> dict[str, object]:
    return {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], **fields}


def generated(url: str) -> float:
    """Tokens that vLLM says it made."""
    return read_engine_metrics(requests.get(url + "/metrics", timeout=30).text).tokens_made or 0.0


async def test_work_is_booked_as_vllm_counts_it(worker: World, vllm: VllmServer) -> None:
    before = await asyncio.to_thread(generated, vllm.url)
    asked: list[tuple[str, dict[str, object]]] = [
        (CHAT, chat(max_tokens=20, ignore_eos=True)),
        (CHAT, chat(max_tokens=20, ignore_eos=True, n=3)),
        (CHAT, chat(max_tokens=9, ignore_eos=True, stream=True)),
        (TEXT, {"model": "tiny", "prompt": ["a", "b"], "max_tokens": 7, "ignore_eos": True}),
        (CHAT, chat(max_tokens=4096, messages=[{"role": "user", "content": "word " * 3000}])),
        (CHAT, chat(n=1_000_000)),
    ]
    statuses = [(await worker.post(route, payload=payload))[0] for route, payload in asked]
    assert statuses == [200, 200, 200, 200, 400, 400]
    done = 20 + 60 + 9 + 14
    assert await asyncio.to_thread(generated, vllm.url) - before == done
    await worker.until(lambda: worker.counters()["served_workload"] == done, "it is booked")
    assert worker.counters()["n_refused"] == 2
    assert worker.counters()["n_errored"] == 0


async def test_a_model_name_in_its_log_hurts_nobody(worker: World) -> None:
    for name in ("gpt-4o", "CUDA out of memory", "RuntimeError: Engine"):
        status, body = await worker.post(CHAT, payload=chat(model=name))
        assert (status, json.loads(body)["error"]["type"]) == (404, "NotFoundError")
    await asyncio.sleep(2.0)
    assert (await worker.post(CHAT, payload=chat(max_tokens=2)))[0] == 200
    assert not any(report["error_msg"] for report in worker.control_plane.reports[-3:])
    assert worker.counters()["models"] == ["tiny"]


async def test_what_vllm_takes_the_worker_does_not_refuse(worker: World, vllm: VllmServer) -> None:
    for route, payload in (
        (TEXT, {"model": "tiny", "prompt": "a b c", "max_tokens": 0, "echo": True}),
        (CHAT, chat(max_tokens=None, stop=["e"])),
        (CHAT, chat(max_tokens=-1)),
        (CHAT, chat(messages=[])),
        (CHAT, chat(unknown_field={"a": 1}, max_tokens=1)),
        ("/v1/responses", {"model": "tiny", "input": "Hi", "max_output_tokens": 3}),
        ("/v1/embeddings", {"model": "tiny", "input": "Hi"}),
    ):
        direct = await asyncio.to_thread(requests.post, vllm.url + route, json=payload, timeout=60)
        status, _ = await worker.post(route, payload=payload)
        assert status == direct.status_code, (route, payload)


async def test_a_killed_engine_is_an_error_and_the_worker_is_not_ready(
    worker: World, vllm: VllmServer
) -> None:
    """Last in this file: the server is gone afterwards.

    Half a million tokens: the engine is at work on them for a minute, however late the first of
    them is seen here.
    """
    body = {
        "auth_data": worker.ticket(),
        "payload": {"model": "tiny", "prompt": "x", "max_tokens": 480, "ignore_eos": True}
        | {"n": 1000, "stream": True},
    }
    children = psutil.Process(vllm.process.pid).children(recursive=True)
    engines = [one for one in children if "EngineCore" in " ".join([one.name(), *one.cmdline()])]
    async with worker.http.post(worker.worker.settings.url + TEXT, json=body) as answer:
        assert answer.status == 200
        await answer.content.readany()
        for engine in engines:
            engine.kill()
        rest = await answer.read()
    assert b"EngineCore encountered an issue" in rest
    await worker.until(lambda: worker.counters()["n_errored"] == 1, "a 200 that failed", 30)
    await worker.until(lambda: worker.counters()["max_perf"] == 0, "it is not ready", 30)
