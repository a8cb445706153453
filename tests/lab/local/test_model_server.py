"""The simulated model server is as fast as its GPU, no faster and not much slower."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from aiohttp.test_utils import TestClient, TestServer

from lab.local.model.model_server import ModelServer, Speed, speed_from


@pytest.fixture
def speed() -> Speed:
    return Speed(tokens_per_s=400.0, n_slots=4)


def request(n_tokens: object) -> dict[str, object]:
    """A request as TGI takes it."""
    return {"inputs": "hello", "parameters": {"max_new_tokens": n_tokens}}


def test_speed_follows_the_rented_gpu() -> None:
    assert speed_from({"RELATIVE_PERF": "2.5"}, 400.0, 4).tokens_per_s == 1000.0
    assert speed_from({}, 400.0, 4).tokens_per_s == 400.0


async def test_slots_work_side_by_side_and_further_requests_wait(speed: Speed) -> None:
    """8 requests of 20 tokens on 4 slots of 100 tokens/s: two turns of 0.2 s."""
    async with TestClient(TestServer(ModelServer(speed, "T4").application())) as client:
        started_at = time.monotonic()
        answers = await asyncio.gather(
            *(client.post("/generate", json=request(20)) for _ in range(8))
        )
        elapsed_s = time.monotonic() - started_at
        texts = [(await answer.json())["generated_text"] for answer in answers]
    assert 0.38 < elapsed_s < 1.5
    assert all(len(text.split()) == 20 for text in texts)
    assert "simulated" in texts[0]


async def test_a_stream_ends_with_the_whole_text(speed: Speed) -> None:
    async with TestClient(TestServer(ModelServer(speed, "T4").application())) as client:
        answer = await client.post("/generate_stream", json=request(5))
        lines = [line async for line in answer.content if line.strip()]
    events = [json.loads(line.removeprefix(b"data:")) for line in lines]
    assert [event["index"] for event in events] == [1, 2, 3, 4, 5]
    text = "".join(event["token"]["text"] for event in events)
    assert [event["generated_text"] for event in events] == [None] * 4 + [text]


async def test_it_says_that_it_is_simulated(speed: Speed) -> None:
    async with TestClient(TestServer(ModelServer(speed, "T4").application())) as client:
        assert (await client.get("/health")).status == 200
        assert (await (await client.get("/info")).json())["model_id"] == "simulated"


@pytest.mark.parametrize("n_tokens", [-1, 10**9, "many", 1.5])
async def test_senseless_lengths_are_refused(speed: Speed, n_tokens: object) -> None:
    async with TestClient(TestServer(ModelServer(speed, "T4").application())) as client:
        assert (await client.post("/generate", json=request(n_tokens))).status == 422
