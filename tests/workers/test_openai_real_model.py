"""workers/openai in front of a real language model: llama.cpp with SmolLM2-135M on the CPU."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from ballast.client.sse import event_data
from tests.workers.world import World, free_port, world
from workers.openai.server import BACK_END

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The model server's address, and the log that tells when it is loaded."""
    port, log = free_port(), tmp_path_factory.mktemp("llama") / "model.log"
    server = subprocess.Popen(
        # One thread: several spin for each other where the cores are busy with something else.
        [
            *(sys.executable, "-m", "lab.local.model.llama_server", "--port", str(port)),
            *("--threads", "1", "--log", str(log)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}", log
    finally:
        server.kill()
        server.wait()


@pytest.fixture
async def real(llama: tuple[str, Path], tmp_path: Path) -> AsyncIterator[World]:
    """A PyWorker in front of it, benchmarked with two requests at once."""
    url, log = llama
    quick = replace(
        BACK_END,
        benchmark=replace(
            BACK_END.benchmark,
            n_rounds=1,
            concurrency=2,
            max_concurrency=2,
            make_payload=lambda rng, _model: {
                "prompt": f"Number {rng.random()}:",
                "max_tokens": 32,
                "ignore_eos": True,
            },
        ),
    )
    async with world(
        tmp_path, quick, ready_within_s=180, MODEL_SERVER_URL=url, MODEL_LOG=str(log)
    ) as it:
        yield it


def chat(content: str, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 24, **fields}


async def test_the_worker_is_ready_at_the_speed_the_model_really_has(real: World) -> None:
    perf = real.counters()["max_perf"]
    started = time.monotonic()
    status, body = await real.post(
        "/v1/completions", payload={"prompt": "Once", "max_tokens": 64, "ignore_eos": True}
    )
    tokens_per_s = json.loads(body)["usage"]["completion_tokens"] / (time.monotonic() - started)
    assert status == 200
    assert isinstance(perf, float)
    assert 0.2 * tokens_per_s < perf < 10 * tokens_per_s  # two at once, on a busy machine


async def test_a_chat_is_answered_whole_and_streamed(real: World) -> None:
    status, body = await real.post(CHAT, payload=chat("Name a colour.", temperature=0))
    whole = json.loads(body)["choices"][0]["message"]["content"]
    assert status == 200
    assert whole

    status, body = await real.post(CHAT, payload=chat("Name a colour.", temperature=0, stream=True))
    events = list(event_data([body]))
    assert events[-1] == "[DONE]"
    deltas = [json.loads(e)["choices"] for e in events[:-1]]
    text = "".join(c[0]["delta"].get("content") or "" for c in deltas if c)
    assert text == whole


async def test_tokens_arrive_one_by_one(real: World) -> None:
    body = {
        "auth_data": real.ticket(),
        "payload": chat("Tell a story.", stream=True, max_tokens=60, ignore_eos=True),
    }
    moments = []
    async with real.http.post(real.worker.settings.url + CHAT, json=body) as answer:
        async for _ in answer.content.iter_any():
            moments.append(time.monotonic())
    assert len(moments) > 10
    assert moments[-1] - moments[0] > 0.05  # the first came well before the last was generated


async def test_leaving_stops_the_generation_in_the_model(
    real: World, llama: tuple[str, Path]
) -> None:
    def n_busy_slots() -> int:
        slots = requests.get(llama[0] + "/slots", timeout=60).json()
        return sum(slot["is_processing"] for slot in slots)

    body = {
        "auth_data": real.ticket(),
        "payload": chat("Count for ever.", stream=True, max_tokens=1900, ignore_eos=True),
    }
    async with real.http.post(real.worker.settings.url + CHAT, json=body) as answer:
        await answer.content.readany()
        assert await asyncio.to_thread(n_busy_slots) == 1
    left = time.monotonic()
    while await asyncio.to_thread(n_busy_slots):
        assert time.monotonic() - left < 20, "the model goes on for nobody"
    await real.until(lambda: real.counters().get("n_cancelled") == 1, "it is accounted")
