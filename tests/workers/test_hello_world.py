"""The smallest back end with the model server that its template starts."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import pytest

from tests.workers.world import loading, serve
from workers.hello_world.model_server import LOADED, ModelServer
from workers.hello_world.server import BACK_END


async def test_it_answers_through_the_worker_whole_and_streamed(tmp_path: Path) -> None:
    log = tmp_path / "model.log"
    log.write_text(f"{LOADED}\n")
    back_end = BACK_END.with_benchmark("", 1, 8)
    async with (
        serve(ModelServer().application()) as url,
        loading(tmp_path, back_end, MODEL_SERVER_URL=url, MODEL_LOG=str(log)) as it,
    ):
        await it.until(it.is_ready, "ready")
        payload = {"prompt": "no model", "max_response_tokens": 5}
        status, body = await it.post("/generate", payload=payload)
        assert (status, json.loads(body)) == (
            200,
            {"generated_text": "no model no model no", "n_tokens": 5},
        )
        status, body = await it.post("/generate_stream", payload=payload)
        assert status == 200
        events = [
            json.loads(event.removeprefix("data: ")) for event in body.decode().split("\n\n")[:-1]
        ]
        assert [event["token"]["text"].strip() for event in events] == [
            "no",
            "model",
            "no",
            "model",
            "no",
        ]


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"prompt": 5}', '{"prompt": "x", "max_response_tokens": "5"}', "[" * 9999],
)
async def test_what_is_no_request_is_refused_in_words(body: str) -> None:
    async with (
        serve(ModelServer().application()) as url,
        aiohttp.ClientSession() as http,
        http.post(f"{url}/generate", data=body) as answer,
    ):
        assert answer.status == 400
        assert "expected" in (await answer.json())["error"]
