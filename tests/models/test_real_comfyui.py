"""A PyWorker in front of real ComfyUI on the CPU, by graphs that need no model file.

`make test-models` sets COMFYUI (a checkout) and COMFYUI_PYTHON and runs it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from ballast.client.sse import event_data
from tests.models.record_comfyui import node, picture, slow
from tests.models.servers import ComfyServer, free_port
from tests.workers.world import World, world
from workers.comfyui.image_size import image_size
from workers.comfyui.server import make_back_end
from workers.pyworker.back_end import BackEnd, JsonObject

CHECKOUT, PYTHON = os.environ.get("COMFYUI", ""), os.environ.get("COMFYUI_PYTHON", "")
pytestmark = pytest.mark.skipif(
    not (CHECKOUT and PYTHON), reason="needs COMFYUI and COMFYUI_PYTHON: run `make test-models`"
)
CUSTOM = "/custom-workflow"
PICTURES = Path(__file__).parents[1] / "evidence" / "models" / "pictures.json"


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A ready one."""
    base = tmp_path_factory.mktemp("comfy")
    server = ComfyServer(Path(PYTHON).absolute(), Path(CHECKOUT).absolute(), base, free_port())
    with server.running():
        yield server


def without_model(home: Path) -> BackEnd:
    """The back end, measured by a graph that needs no model."""

    def make(rng: random.Random, _model: str) -> JsonObject:
        return {"workflow": slow(2, rng.randrange(2**40))}

    back_end = make_back_end("sdxl", home)
    benchmark = replace(
        back_end.benchmark, route=CUSTOM, n_rounds=1, make_payload=make, make_short=make
    )
    return replace(back_end, benchmark=benchmark)


@pytest.fixture
async def worker(comfy: ComfyServer, tmp_path: Path) -> AsyncIterator[World]:
    """A ready PyWorker."""
    home = comfy.log.parent
    async with world(
        tmp_path,
        without_model(home),
        ready_within_s=60,
        MODEL_SERVER_URL=comfy.url,
        BENCHMARK_ROUTE=CUSTOM,
    ) as it:
        yield it


async def test_every_kind_of_output_comes_back_and_nothing_is_left(
    worker: World, comfy: ComfyServer
) -> None:
    batch = picture(batch=3)
    preview = {**picture(), "2": node("PreviewImage", images=["1", 0])}
    video = {
        **picture(batch=4),
        "4": node("CreateVideo", images=["1", 0], fps=4.0),
        "2": node("SaveVideo", video=["4", 0], filename_prefix="v", format="auto", codec="auto"),
    }
    for graph, kind, n in ((batch, "images", 3), (preview, "images", 1), (video, "videos", 1)):
        for _ in range(2):  # the second one is cached in ComfyUI
            status, body = await worker.post(CUSTOM, payload={"workflow": graph})
            assert (status, len(json.loads(body)[kind])) == (200, n)
    base = comfy.log.parent
    left = [path for path in (base / "output").rglob("*") if path.is_file()]
    assert left == []
    assert requests.get(comfy.url + "/history", timeout=10).json() == {}


async def test_an_uploaded_image_is_worked_on(worker: World) -> None:
    _, body = await worker.post(CUSTOM, payload={"workflow": picture()})
    (image,) = json.loads(body)["images"]
    graph = {
        "1": node("LoadImage", image="mine.png"),
        "2": node("ImageScale", image=["1", 0], upscale_method="area", width=32, height=32,
                  crop="disabled"),
        "3": node("SaveImage", images=["2", 0], filename_prefix="../../x"),
    }  # fmt: skip
    status, body = await worker.post(
        CUSTOM, payload={"workflow": graph, "images": {"mine.png": image}}
    )
    assert status == 200
    data = base64.b64decode(json.loads(body)["images"][0].partition(",")[2])
    assert data[16:24] == (32).to_bytes(4, "big") * 2  # width and height in a PNG's header


async def test_its_errors_come_in_its_own_words_and_hurt_nobody(worker: World) -> None:
    loader = node("UNETLoader", unet_name="mine.safetensors", weight_dtype="default")
    wrong = {"3": loader, "4": node("PreviewAny", source=["3", 0])}
    failing = {**picture(), "3": node("BallastFails", image=["1", 0], message="bad shapes")}
    failing["2"] = node("SaveImage", images=["3", 0], filename_prefix="x")
    for graph, status, words in (
        (wrong, 400, "mine.safetensors"),
        ({"1": node("NoSuchNode")}, 400, "NoSuchNode"),
        ({"1": {"class_type": ["x"], "inputs": {}}}, 400, "class_type"),  # ComfyUI's 500
        (failing, 422, "bad shapes"),
    ):
        answered, body = await worker.post(CUSTOM, payload={"workflow": graph})
        assert (answered, words in body.decode()) == (status, True)
    # Of a graph that is wrong in part ComfyUI runs the rest, and says which part it left out.
    status, body = await worker.post(CUSTOM, payload={"workflow": picture() | wrong})
    answer = json.loads(body)
    assert (status, len(answer["images"]), "3" in answer["node_errors"]) == (200, 1, True)
    await worker.until(lambda: worker.counters()["n_refused"] == 4, "nobody's errors")
    assert worker.counters()["n_errored"] == 0


async def test_whoever_leaves_is_interrupted_and_progress_is_told(
    worker: World, comfy: ComfyServer
) -> None:
    call = asyncio.create_task(worker.post(CUSTOM, payload={"workflow": slow(400, 5)}))
    await asyncio.sleep(1.0)
    call.cancel()
    await worker.until(lambda: worker.counters()["n_cancelled"] == 1, "it is counted", 20)
    queue = await asyncio.to_thread(lambda: requests.get(comfy.url + "/queue", timeout=10).json())
    assert queue == {"queue_running": [], "queue_pending": []}
    rows = await asyncio.to_thread(lambda: requests.get(comfy.url + "/history", timeout=10).json())
    assert rows == {}
    payload = {"workflow": slow(5, 6), "stream": True}
    status, body = await worker.post(CUSTOM, payload=payload)
    events = [json.loads(event) for event in event_data([body]) if event != "[DONE]"]
    assert status == 200
    assert [event["max"] for event in events[:-1]] == [5] * len(events[:-1])
    assert len(events) > 2


async def test_an_uploaded_picture_is_priced_as_comfyui_loads_it(worker: World) -> None:
    """The size that is read from its head, and a batch of the frames of an animation."""
    for name, url in json.loads(PICTURES.read_text())["pictures"].items():
        graph = {
            "1": node("LoadImage", image="mine"),
            "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
        }
        status, body = await worker.post(
            CUSTOM, payload={"workflow": graph, "images": {"mine": url}}
        )
        assert status == 200, (name, body)
        made = [image_size(image) for image in json.loads(body)["images"]]
        size = image_size(url)
        assert size is not None
        assert made == [replace(size, n_frames=1)] * size.n_frames, name
