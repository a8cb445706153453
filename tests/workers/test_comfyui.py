"""ComfyUI by its own API: cost of graphs, its words, cleaning up, and answers that carry files."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ballast.client.sse import event_data
from fakes.comfyui_server import PIXEL, ComfyUIServer
from tests.workers.world import World, serve, world
from workers.comfyui.cost import graph_workload, image_workload
from workers.comfyui.server import make_back_end
from workers.comfyui.workflow import MODELS, ImageRequest, default_workflow, made_ready
from workers.pyworker.back_end import PayloadError

EVIDENCE = Path(__file__).parents[1] / "evidence" / "models" / "comfyui-0.3.64.json"
REAL: dict[str, Any] = json.loads(EVIDENCE.read_text())["exchanges"]
FLUX = make_back_end("flux")
SIZE = {"width": 1024, "height": 1024, "steps": 28}


def node(class_type: str, **inputs: object) -> dict[str, object]:
    return {"class_type": class_type, "inputs": inputs}


def picture(**changes: object) -> dict[str, object]:
    """A graph that needs no model."""
    graph: dict[str, object] = {
        "1": node("EmptyImage", width=64, height=64, batch_size=1, color=0),
        "2": node("SaveImage", images=["1", 0], filename_prefix="../../mine/x"),
    }
    return graph | changes


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


def test_the_default_graph_of_each_model_names_its_published_files() -> None:
    for model, told in MODELS.items():
        graph = json.dumps(default_workflow(model, ImageRequest("a cat", 1024, 1024, 28, 1)))
        assert all(f'"{file.name}"' in graph for file in told.files)
        cost = graph_workload(model, json.loads(graph))
        assert cost == pytest.approx(image_workload(model, 1024, 1024, 28))


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
    with pytest.raises(ValueError, match=r"COMFY_MODEL='dall-e' is not known; one of: flux, sd3"):
        make_back_end("dall-e")


@asynccontextmanager
async def worker(tmp_path: Path, comfy: ComfyUIServer) -> AsyncIterator[World]:
    """A ready PyWorker in front of it."""
    back_end = make_back_end("flux", tmp_path / "ComfyUI")
    quick = replace(back_end, benchmark=replace(back_end.benchmark, n_rounds=1))
    async with (
        serve(comfy.application()) as url,
        world(tmp_path, quick, MODEL_SERVER_URL=url) as it,
    ):
        comfy.graphs.clear()
        yield it


async def test_an_image_comes_back_by_all_three_paths(tmp_path: Path) -> None:
    comfy = ComfyUIServer()
    async with worker(tmp_path, comfy) as it:
        workflow = default_workflow("flux", ImageRequest("a cat", 512, 512, 4, 7))
        custom = {"workflow": workflow}
        for path, payload in (
            ("/prompt", {"prompt": "a cat", "seed": 7, "width": 512, "height": 512, "steps": 4}),
            ("/custom-workflow", custom),
            ("/custom_workflow", custom),
        ):
            status, body = await it.post(path, payload=payload)
            assert status == 200
            head, _, data = json.loads(body)["images"][0].partition(",")
            assert head == "data:image/png;base64"
            assert base64.b64decode(data) == PIXEL
        assert comfy.history == {}  # nothing is left of a run
        full, again, third = [finished["used"] for finished in await finished_of(it, 3)]
        assert full == pytest.approx(image_workload("flux", 512, 512, 4))
        assert again == third == 0  # the sampler's result was still there


async def finished_of(it: World, n: int) -> list[dict[str, Any]]:
    await it.until(lambda: len(it.control_plane.finished) == n, "they are told")
    return it.control_plane.finished


async def test_outputs_and_uploads_lie_in_a_folder_of_the_run_and_are_removed(
    tmp_path: Path,
) -> None:
    comfy = ComfyUIServer()
    home = tmp_path / "ComfyUI"
    async with worker(tmp_path, comfy) as it:
        graph = picture(**{"1": node("LoadImage", image="mine.png")})
        image = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
        payload = {"workflow": graph, "images": {"mine.png": image}}
        for name in ("output", "input"):
            (home / name / "ballast" / "other").mkdir(parents=True)
        assert (await it.post("/custom-workflow", payload=payload))[0] == 200
        (sent,) = comfy.graphs
        prefix = str(sent["2"]["inputs"]["filename_prefix"])  # type: ignore[index]
        loaded = str(sent["1"]["inputs"]["image"])  # type: ignore[index]
        assert prefix.startswith("ballast/")
        assert prefix.endswith("/x")
        assert loaded.startswith(prefix.rpartition("/")[0])
        folder, _, name = loaded.rpartition("/")
        assert comfy.stored[(name, folder, "input")] == PIXEL
        assert sorted(path.name for path in (home / "output" / "ballast").iterdir()) == ["other"]


REFUSED = {
    "unknown_node": ({"1": node("NoSuchNode")}, "Cannot execute because node NoSuchNode"),
    "no_outputs": ({"1": node("EmptyImage", width=64)}, "Prompt has no outputs"),
    "empty": ({}, "Prompt has no outputs"),
    "missing_input": ({"2": node("SaveImage", filename_prefix="rec")}, "Required input is missing"),
    "missing_file": (
        default_workflow("flux", ImageRequest("a cat", 64, 64, 1, 1)),
        "unet_name: 'flux1-dev.safetensors' not in",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_a_graph_that_comfyui_refuses_is_told_in_its_own_words(
    tmp_path: Path, name: str
) -> None:
    """The fake says what the real one said (recorded), and the worker stays well."""
    graph, words = REFUSED[name]
    recorded = REAL[f"prompt_{name}"]
    assert recorded["status"] == 400
    assert words in recorded["answer"]
    comfy = ComfyUIServer()
    async with worker(tmp_path, comfy) as it:
        comfy.files = set()
        status, body = await it.post("/custom-workflow", payload={"workflow": graph})
        assert status == 400
        assert words in body.decode()
        assert json.loads(body)["error"]["type"] == json.loads(recorded["answer"])["error"]["type"]
        assert (await it.post("/custom-workflow", payload={"workflow": picture()}))[0] == 200
        await it.until(lambda: it.counters()["n_refused"] == 1, "it is nobody's error")
        assert it.counters()["n_errored"] == 0


async def test_the_editors_file_is_refused_with_what_to_export(tmp_path: Path) -> None:
    async with worker(tmp_path, ComfyUIServer()) as it:
        editor = {"nodes": [{"id": 1}], "links": [], "version": 0.4}
        status, body = await it.post("/custom-workflow", payload={"workflow": editor})
        assert status == 400
        assert "Export (API)" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("message", "status", "counter"),
    [("tensor sizes do not match", 422, "n_refused"), ("CUDA out of memory", 500, "n_errored")],
)
async def test_a_node_that_fails_is_named(
    tmp_path: Path, message: str, status: int, counter: str
) -> None:
    async with worker(tmp_path, ComfyUIServer()) as it:
        graph = picture(**{"3": node("Fails", message=message)})
        answered, body = await it.post("/custom-workflow", payload={"workflow": graph})
        error = json.loads(body)["error"]
        assert (answered, error["node_id"], error["message"]) == (status, "3", message)
        await it.until(lambda: it.counters()[counter] == 1, "it is counted as what it is")


async def test_whoever_leaves_is_interrupted(tmp_path: Path) -> None:
    comfy = ComfyUIServer()
    async with worker(tmp_path, comfy) as it:
        comfy.seconds_of, comfy.interrupt_s = lambda _graph: 1000.0, 0.1
        call = asyncio.create_task(it.post("/custom-workflow", payload={"workflow": picture()}))
        await it.until(lambda: comfy.running, "it runs")
        call.cancel()
        await it.until(lambda: comfy.interrupted and not comfy.running, "it is interrupted")
        await it.until(lambda: it.counters()["n_cancelled"] == 1, "it is counted")
        comfy.seconds_of = lambda _graph: 0.0
        assert (await it.post("/custom-workflow", payload={"workflow": picture()}))[0] == 200
        assert comfy.history == {}  # nor is the graph kept of whoever left


async def test_whoever_leaves_while_the_graph_is_taken_is_interrupted_too(tmp_path: Path) -> None:
    """Its number comes with an answer that nobody waited for: it ran to its end."""

    class Slow(ComfyUIServer):
        async def _prompt(self, request: web.Request) -> web.Response:
            answer = await super()._prompt(request)
            await asyncio.sleep(0.2)
            return answer

    comfy = Slow()
    async with worker(tmp_path, comfy) as it:
        comfy.seconds_of = lambda _graph: 1000.0
        call = asyncio.create_task(it.post("/custom-workflow", payload={"workflow": picture()}))
        await it.until(lambda: comfy.running, "it runs")
        call.cancel()
        await it.until(lambda: not comfy.running and not comfy.pending, "it is interrupted", 5)
        assert comfy.interrupted


async def test_a_comfyui_that_takes_graphs_and_tells_nothing_of_them_is_no_wait(
    tmp_path: Path,
) -> None:
    """Its history and queue answer 500: the request hung until its client had enough."""

    class Mute(ComfyUIServer):
        is_mute = False

        async def _history(self, request: web.Request) -> web.Response:
            if self.is_mute:
                return web.Response(status=500, text="<html>")
            return await super()._history(request)

    comfy = Mute()
    async with worker(tmp_path, comfy) as it:
        comfy.is_mute = True
        async with asyncio.timeout(20):
            status, _ = await it.post("/custom-workflow", payload={"workflow": picture()})
        assert status == 502
        await it.until(lambda: it.counters()["n_errored"] == 1, "its error")


@pytest.mark.parametrize("failing", ["_prompt", "_upload", "_view"])
async def test_a_comfyui_that_fails_is_no_mistake_of_its_client(
    tmp_path: Path, failing: str
) -> None:
    """500 of its own, as with a full disk, was booked as the graph's fault."""

    class Failing(ComfyUIServer):
        is_failing = False

        async def _answer(self, request: web.Request, name: str) -> web.Response:
            if self.is_failing and name == failing:
                return web.Response(status=500, text="No space left on device")
            usual: web.Response = await getattr(ComfyUIServer, name)(self, request)
            return usual

        async def _prompt(self, request: web.Request) -> web.Response:
            return await self._answer(request, "_prompt")

        async def _upload(self, request: web.Request) -> web.Response:
            return await self._answer(request, "_upload")

        async def _view(self, request: web.Request) -> web.Response:
            return await self._answer(request, "_view")

    comfy = Failing()
    async with worker(tmp_path, comfy) as it:
        comfy.is_failing = True
        image = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
        payload = {"workflow": picture(), "images": {"mine.png": image}}
        assert (await it.post("/custom-workflow", payload=payload))[0] >= 500
        await it.until(lambda: it.counters()["n_errored"] == 1, "its error")
        assert it.counters()["n_refused"] == 0


@pytest.mark.parametrize("odd", [None, 0.4, [], "a node", {"class_type": ["x"], "inputs": {}}])
async def test_what_is_no_node_is_named(tmp_path: Path, odd: object) -> None:
    async with worker(tmp_path, ComfyUIServer()) as it:
        graph = picture(version=odd)
        status, body = await it.post("/custom-workflow", payload={"workflow": graph})
        assert (status, "'version' must be an object" in json.loads(body)["error"]) == (400, True)


def test_outputs_lie_in_the_runs_folder_also_where_a_node_makes_their_name() -> None:
    graph = picture(**{"2": node("SaveImage", images=["1", 0], filename_prefix=["9", 0])})
    ready = made_ready(graph, "ballast/run", {})
    assert ready["2"]["inputs"]["filename_prefix"] == "ballast/run/linked"  # type: ignore[index]


async def test_progress_is_streamed_to_clients_that_ask(tmp_path: Path) -> None:
    comfy = ComfyUIServer()
    async with worker(tmp_path, comfy) as it:
        comfy.seconds_of = lambda _graph: 0.6
        payload = {"workflow": picture(), "stream": True}
        status, body = await it.post("/custom-workflow", payload=payload)
        events = list(event_data([body]))
        assert (status, events[-1]) == (200, "[DONE]")
        steps = [json.loads(event) for event in events[:-2]]
        assert [(step["value"], step["max"]) for step in steps] == [(1, 3), (2, 3), (3, 3)]
        assert json.loads(events[-2])["images"][0].startswith("data:image/png")


async def test_a_file_that_is_missing_on_the_worker_keeps_it_from_being_ready(
    tmp_path: Path,
) -> None:
    comfy = ComfyUIServer(files=set())
    back_end = make_back_end("sdxl", tmp_path)
    async with serve(comfy.application()) as url:
        it: World | None = None
        with pytest.raises(TimeoutError, match=r"sd_xl_base_1.0.safetensors"):
            async with world(tmp_path, back_end, ready_within_s=3, MODEL_SERVER_URL=url) as it:
                pass
        assert it is None
