"""Back end ComfyUI: `/prompt` and `/custom-workflow`, one image at a time.

COMFY_MODEL (flux or sd3) says which model the template's image carries.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from functools import partial

from workers.comfyui.cost import RTX_4090_S, image_workload
from workers.comfyui.images import with_images
from workers.comfyui.workflow import ImageRequest, default_workflow, size_of
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
from workers.pyworker.model.prompts import random_prompt

DEFAULT_MODEL = "flux"
MAX_SEED = 2**53
LOG_MARKERS = LogMarkers(
    loaded=("To see the GUI go to: ",),
    error=("MetadataIncompleteBuffer", "Value not in list: unet_name"),
    info=("Downloading:",),
)


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


def _object(payload: JsonObject, name: str) -> JsonObject:
    value = payload.get(name)
    if not isinstance(value, dict):
        raise PayloadError({name: "must be an object"})
    return value


def custom_size(payload: JsonObject) -> tuple[float, float, float]:
    """(width, height, steps) of a `/custom-workflow` payload: custom_fields and workflow.

    Raises:
        PayloadError: one of them is missing.
    """
    return size_of(_object(payload, "workflow"), _object(payload, "custom_fields"))


def make_benchmark_payload(rng: random.Random, _model: str, steps: int = 28) -> JsonObject:
    """An image of a random prompt, of the standard size and by default in the standard steps."""
    size = {"width": 1024, "height": 1024, "steps": steps}
    return {"prompt": random_prompt(rng, 20), "seed": rng.randrange(MAX_SEED), **size}


def make_back_end(model: str) -> BackEnd:
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
        return image_workload(model, *custom_size(payload))

    def image_body(payload: JsonObject) -> JsonObject:
        return {"input": {"workflow_json": default_workflow(model, parse_image(payload))}}

    def custom_body(payload: JsonObject) -> JsonObject:
        return {"input": {"workflow_json": _object(payload, "workflow")}}

    return BackEnd(
        name="comfyui",
        model_server_url="http://127.0.0.1:38188",
        is_serial=True,
        routes=(
            _image_route("/prompt", image_work, image_body),
            _image_route("/custom-workflow", custom_work, custom_body, "/custom_workflow"),
        ),
        benchmark=Benchmark(
            route="/prompt",
            make_payload=make_benchmark_payload,
            make_short=partial(make_benchmark_payload, steps=1),
        ),
        log_markers=LOG_MARKERS,
        required_env=("COMFY_MODEL",),
        max_queue_time_s=120.0,
    )


def _image_route(
    path: str,
    workload: Callable[[JsonObject], float],
    convert: Callable[[JsonObject], JsonObject],
    *aliases: str,
) -> Route:
    return Route(
        path=path,
        aliases=aliases,
        model_path="/runsync",
        workload=workload,
        convert=convert,
        respond=with_images,
    )


BACK_END = make_back_end(os.environ.get("COMFY_MODEL", "") or DEFAULT_MODEL)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
