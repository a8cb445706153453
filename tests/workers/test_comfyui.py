"""ComfyUI: the seed era's unit of work, serial images, and answers that carry the pictures."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from tests.workers.world import serve, world
from workers.comfyui.cost import image_workload
from workers.comfyui.images import with_images
from workers.comfyui.server import make_back_end
from workers.comfyui.workflow import ImageRequest, default_workflow
from workers.pyworker.back_end import ModelAnswerError, PayloadError

FLUX = make_back_end("flux")
SIZE = {"width": 1024, "height": 1024, "steps": 28}


@pytest.mark.parametrize(
    ("model", "width", "height", "steps", "load"),
    [
        ("flux", 1024, 1024, 28, 4600.0),  # 23 s on an RTX 4090: perf 200
        ("sd3", 1024, 1024, 28, 1200.0),  # 6 s: perf 200 too
        ("flux", 512, 512, 28, 4600 * 260 / 785),
        ("flux", 513, 512, 28, 4600 * 435 / 785),  # one pixel more is another tile
        ("flux", 1024, 1024, 14, 4600 * (0.61 * 14 + 6.57) / (0.61 * 28 + 6.57)),
        ("sd3", 2048, 1024, 56, 1200 * (1485 / 785) * ((0.61 * 56 + 6.57) / (0.61 * 28 + 6.57))),
    ],
)
def test_the_load_of_an_image(model: str, width: int, height: int, steps: int, load: float) -> None:
    assert image_workload(model, width, height, steps) == pytest.approx(load)


def test_an_rtx_4090_scores_200() -> None:
    for model, seconds in (("flux", 23.0), ("sd3", 6.0)):
        payload = make_back_end(model).benchmark.make_payload(random.Random(1), model)
        route = make_back_end(model).route("/prompt")
        assert route.workload(payload) / seconds == pytest.approx(200.0)


def test_a_custom_workflow_costs_what_its_nodes_ask_for() -> None:
    """`custom_fields` may say less than the workflow does; the workflow counts."""
    workflow = default_workflow("flux", ImageRequest("x", 2048, 1024, 56, 1))
    route = FLUX.route("/custom-workflow")
    modest = {"custom_fields": {"width": 64, "height": 64, "steps": 1}, "workflow": workflow}
    assert route.workload(modest) == image_workload("flux", 2048, 1024, 56)
    empty: dict[str, object] = {"custom_fields": {}, "workflow": {}}
    assert route.workload(empty) == image_workload("flux", 1024, 1024, 28)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "seed": 1, **SIZE, "width": 0}, "width"),
        ({"prompt": "x", "seed": 1, **SIZE, "height": 10_000}, "height"),
        ({"prompt": "x", "seed": 1, **SIZE, "steps": 2.5}, "steps"),
        ({"prompt": "x", "seed": -1, **SIZE}, "seed"),
        ({"prompt": 5, "seed": 1, **SIZE}, "prompt"),
    ],
)
def test_bad_fields_are_named(payload: dict[str, object], field: str) -> None:
    with pytest.raises(PayloadError) as caught:
        FLUX.route("/prompt").workload(payload)
    assert field in caught.value.fields


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match="COMFY_MODEL='sdxl' is not known; one of: flux, sd3"):
        make_back_end("sdxl")


@pytest.mark.parametrize("path", ["/etc/passwd", "/no/such.png", "relative.txt"])
def test_only_image_files_are_ever_read(path: str) -> None:
    answer = json.dumps({"output": {"images": [{"local_path": path}]}}).encode()
    with pytest.raises(ModelAnswerError):
        with_images(answer)


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"output": {"images": []}}', b'{"output": 5}'])
def test_a_failed_workflow_is_told(answer: bytes) -> None:
    with pytest.raises(ModelAnswerError, match="workflow"):
        with_images(answer)


async def test_an_image_comes_back_by_all_three_paths(tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    picture.write_bytes(b"\x89PNG picture")
    bodies: list[dict[str, object]] = []

    async def run(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.json_response({"output": {"images": [{"local_path": str(picture)}]}})

    wrapper = web.Application()
    wrapper.router.add_post("/runsync", run)
    log = tmp_path / "comfy.log"
    log.write_text("To see the GUI go to: http://127.0.0.1:18188\n")
    quick = replace(FLUX, benchmark=replace(FLUX.benchmark, n_rounds=1))
    async with (
        serve(wrapper) as url,
        world(tmp_path, quick, MODEL_SERVER_URL=url, MODEL_LOG=str(log)) as it,
    ):
        bodies.clear()
        workflow = default_workflow("flux", ImageRequest("a cat", 512, 512, 4, 7))
        custom = {"custom_fields": {}, "workflow": workflow}
        for path, payload in (
            ("/prompt", {"prompt": "a cat", "seed": 7, "width": 512, "height": 512, "steps": 4}),
            ("/custom-workflow", custom),
            ("/custom_workflow", custom),
        ):
            status, body = await it.post(path, payload=payload)
            assert status == 200
            head, _, data = json.loads(body)["images"][0].partition(",")
            assert head == "data:image/png;base64"
            assert base64.b64decode(data) == b"\x89PNG picture"
        assert bodies == [{"input": {"workflow_json": workflow}}] * 3
