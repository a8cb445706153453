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
from workers.comfyui.cost import FACTORS, FIELDS, graph_workload, image_workload
from workers.comfyui.server import make_back_end
from workers.comfyui.workflow import MODELS, ImageRequest, default_workflow
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


def sampled(**latent: object) -> dict[str, object]:
    """A graph whose sampler works on this latent."""
    return {
        "latent": node("EmptyLatentImage", **latent),
        "scheduler": node("BasicScheduler", steps=latent.get("steps", 28)),
        "sampler": node("SamplerCustom", latent_image=["latent", 0], sigmas=["scheduler", 0]),
        "save": node("SaveImage", images=["sampler", 0], filename_prefix="x"),
    }


IMAGE_4600 = image_workload("flux", 1024, 1024, 28)


@pytest.mark.parametrize(
    ("graph", "n_images"),
    [
        (sampled(width=1024, height=1024, batch_size=1), 1),
        (sampled(width=1024, height=1024, batch_size=64), 64),
        (sampled(width="1024", height="1024", batch_size="2"), 2),  # ComfyUI takes text for INT
        (sampled(width=1024, height=1024, length=81, batch_size=1), 81),  # frames of a video
        (sampled(width=True, height=True, batch_size=True), 1),  # no numbers: the usual size
        (
            sampled(width=1024, height=1024)
            | {
                f"again{n}": node("KSampler", latent_image=["latent", 0], steps=28)
                for n in range(3)
            },
            4,
        ),
        # Numbers that nodes of their own hold, and what enlarges the latent on its way.
        (
            sampled(width=["w", 0], height=1024, steps=["s", 0])
            | {"w": node("PrimitiveInt", value=1024), "s": node("PrimitiveInt", value="28")},
            1,
        ),
        (
            sampled(width=1024, height=1024, batch_size=2)
            | {
                "copies": node("RepeatLatentBatch", samples=["latent", 0], amount=3),
                "sampler": node("KSampler", latent_image=["copies", 0], steps=28),
            },
            6,
        ),
        (
            sampled(width=512, height=512)
            | {
                "larger": node("LatentUpscaleBy", samples=["latent", 0], scale_by=2),
                "sampler": node("KSampler", latent_image=["larger", 0], steps=28),
            },
            1,
        ),
        # SDXL's base and refiner share one schedule.
        (
            sampled(width=1024, height=1024)
            | {
                "sampler": node(
                    "KSamplerAdvanced",
                    latent_image=["latent", 0],
                    steps=56,
                    start_at_step="28",
                    end_at_step=10_000,
                ),
            },
            1,
        ),
        (  # of a node pack: its class does not say that it samples
            sampled(width=1024, height=1024)
            | {"face": node("FaceDetailer", image=["sampler", 0], steps=28, sampler_name="euler")},
            2,
        ),
    ],
)
def test_a_graph_costs_what_each_of_its_samplers_does(
    graph: dict[str, object], n_images: int
) -> None:
    assert graph_workload("flux", graph) == pytest.approx(n_images * IMAGE_4600)
    all_known = [name for name in graph if name != "save"]
    assert graph_workload("flux", graph, all_known) == 0


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"1": None, "2": [], "3": {"class_type": 5}},
        {"a": node("KSampler", latent_image=["b", 0]), "b": node("X", a=["a", 0])},  # a ring
        sampled(width="9" * 400, height=1e308, batch_size=-1),
        sampled(width=["a", 0]) | {"a": node("X", value=["a", 0])},
        sampled(width=["gone", 0], height=[["x"]], batch_size=[], steps=[[], {}]),
        sampled(steps={"value": 5})
        | {"latent": node("EmptyLatentImage", width="nan", height="inf")},
        sampled(width=float("inf"), height=10**400, batch_size=10**9, length=10**9),
    ],
)
def test_any_graph_has_a_finite_cost(graph: dict[str, object]) -> None:
    assert 0 <= graph_workload("flux", graph) <= 1e9


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
        comfy.seconds_of = lambda _graph: 1000.0
        call = asyncio.create_task(it.post("/custom-workflow", payload={"workflow": picture()}))
        await it.until(lambda: comfy.running, "it runs")
        call.cancel()
        await it.until(lambda: comfy.interrupted and not comfy.running, "it is interrupted")
        await it.until(lambda: it.counters()["n_cancelled"] == 1, "it is counted")
        comfy.seconds_of = lambda _graph: 0.0
        assert (await it.post("/custom-workflow", payload={"workflow": picture()}))[0] == 200


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


def test_the_numbers_that_are_priced_are_called_so_in_comfyui() -> None:
    kinds = json.loads(REAL["inputs"]["answer"])
    names = {name for inputs in kinds.values() for name in inputs}
    priced = {name for known, _ in (*FIELDS.values(), *FACTORS.values()) for name in known}
    assert priced - names == {"num_frames"}
    assert {
        kind for kind in kinds if "amount" in kinds[kind] and not kind.startswith("Repeat")
    } == {
        "LatentCut"  # whose amount is none of copies
    }


def test_a_graph_of_thousands_of_samplers_is_priced_in_few_looks() -> None:
    """Each of 3,000 looked at 3,000 nodes, five times: half a minute in which nobody was served."""
    graph: dict[str, object] = {
        f"s{n}": node("KSampler", latent_image=["hub", 0]) for n in range(3_000)
    }
    graph["hub"] = node("Hub", **{f"i{n}": [f"s{n}", 0] for n in range(3_000)})
    counted = _Counted(graph)
    assert 0 < graph_workload("flux", counted) <= 1e9
    assert counted.n_looks < 1_000_000


class _Counted(dict[str, object]):
    """Counts how often a node is asked for."""

    n_looks = 0

    def get(self, key: str, default: object = None) -> object:
        self.n_looks += 1
        return super().get(key, default)
