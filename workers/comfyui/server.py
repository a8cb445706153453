"""Back end ComfyUI: `/prompt` and `/custom-workflow`, one graph at a time, by ComfyUI's own API.

COMFY_MODEL says which model is served, COMFYUI_DIR where ComfyUI lies.
"""

from __future__ import annotations

import os
import random
import sys
from functools import partial
from pathlib import Path

import aiohttp

from workers.comfyui.cost import RTX_4090_S, graph_workload, image_workload
from workers.comfyui.image_size import image_sizes
from workers.comfyui.run import Order, run_graph
from workers.comfyui.workflow import ImageRequest, default_workflow
from workers.pyworker.__main__ import main
from workers.pyworker.back_end import (
    BackEnd,
    Benchmark,
    JsonObject,
    LogMarkers,
    PayloadError,
    Route,
    positive_number,
    required_text,
)
from workers.pyworker.model.forms import is_data_url
from workers.pyworker.model.jobs import JobResult, Tell
from workers.pyworker.model.prompts import random_prompt

DEFAULT_MODEL = "flux"
DEFAULT_HOME = Path("/opt/ComfyUI")
MAX_SEED = 2**53


def parse_image(payload: JsonObject) -> ImageRequest:
    """The image a `/prompt` payload asks for: prompt, width, height, steps, seed.

    Raises:
        PayloadError: with a message per field.
    """
    missing = [n for n in ("prompt", "width", "height", "steps", "seed") if n not in payload]
    if missing:
        raise PayloadError(dict.fromkeys(missing, "missing parameter"))
    seed = payload["seed"]
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise PayloadError({"seed": "must be a whole number from 0 to 2**64 - 1"})
    return ImageRequest(
        prompt=required_text(payload, "prompt"),
        width=_whole(payload, "width", 8192),
        height=_whole(payload, "height", 8192),
        steps=_whole(payload, "steps", 1000),
        seed=seed,
    )


def _whole(payload: JsonObject, name: str, largest: int) -> int:
    value = positive_number(payload, name, 0.0)
    if value != int(value) or value > largest:
        raise PayloadError({name: f"must be a whole number from 1 to {largest}"})
    return int(value)


def parse_graph(payload: JsonObject) -> JsonObject:
    """The graph of a `/custom-workflow` payload.

    Raises:
        PayloadError: there is none.
    """
    graph = payload.get("workflow")
    if not isinstance(graph, dict):
        raise PayloadError({"workflow": "must be an object: ComfyUI's API format"})
    return graph


def parse_images(payload: JsonObject) -> dict[str, str]:
    """Images for the graph, `{"name in the graph": "data:image/png;base64,…"}`.

    Raises:
        PayloadError: one is no data URL.
    """
    images = payload.get("images") or {}
    if not isinstance(images, dict):
        raise PayloadError({"images": "must be an object of data URLs by name"})
    for name, data in images.items():
        if not is_data_url(data):
            raise PayloadError({"images": f"{name!r:.50} must be a data URL in base64"})
    return images


def make_benchmark_payload(rng: random.Random, _model: str, steps: int = 28) -> JsonObject:
    """An image of a random prompt, of the standard size and by default in the standard steps."""
    size = {"width": 1024, "height": 1024, "steps": steps}
    return {"prompt": random_prompt(rng, 20), "seed": rng.randrange(MAX_SEED), **size}


def make_back_end(model: str, home: Path = DEFAULT_HOME) -> BackEnd:
    """The back end for one of the models in `cost.RTX_4090_S`.

    Raises:
        ValueError: no such model.
    """
    if model not in RTX_4090_S:
        raise ValueError(f"COMFY_MODEL={model!r} is not known; one of: {', '.join(RTX_4090_S)}")

    def image_work(payload: JsonObject) -> float:
        image = parse_image(payload)
        return image_workload(model, image.width, image.height, image.steps)

    def custom_work(payload: JsonObject) -> float:
        uploads = image_sizes(parse_images(payload))
        return graph_workload(model, parse_graph(payload), uploads=uploads)

    async def make(
        http: aiohttp.ClientSession, url: str, payload: JsonObject, tell: Tell, *, is_ours: bool
    ) -> JobResult:
        graph = default_workflow(model, parse_image(payload)) if is_ours else parse_graph(payload)
        images = {} if is_ours else parse_images(payload)
        order = Order(
            graph=graph,
            images=images,
            work=partial(graph_workload, model, graph, uploads=image_sizes(images)),
            wants_events=payload.get("stream") is True,
            is_ours=is_ours,
        )
        return await run_graph(http, url, order, tell, home)

    return BackEnd(
        name="comfyui",
        model_server_url="http://127.0.0.1:18188",
        is_serial=True,
        routes=(
            Route(
                path="/prompt",
                model_path="/prompt",
                workload=image_work,
                job=partial(make, is_ours=True),
            ),
            Route(
                path="/custom-workflow",
                aliases=("/custom_workflow",),
                model_path="/prompt",
                workload=custom_work,
                job=partial(make, is_ours=False),
            ),
        ),
        benchmark=Benchmark(
            route="/prompt",
            make_payload=make_benchmark_payload,
            make_short=partial(make_benchmark_payload, steps=1),
        ),
        health_path="/system_stats",
        queue_path="/queue",
        log_markers=LogMarkers(
            loaded=("To see the GUI go to: ",),
            error=("MetadataIncompleteBuffer",),
            info=("Downloading",),
        ),
        required_env=("COMFY_MODEL",),
        model_command=("$BALLAST_PYTHON", "-m", "workers.comfyui.start"),
        max_queue_time_s=120.0,
        default_workload=image_workload(model, 1024, 1024, 28),
    )


BACK_END = make_back_end(
    os.environ.get("COMFY_MODEL", "") or DEFAULT_MODEL,
    Path(os.environ.get("COMFYUI_DIR", "") or DEFAULT_HOME),
)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
