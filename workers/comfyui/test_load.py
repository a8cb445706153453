"""`python3 -m workers.comfyui.test_load -n 100 -rps 0.1 -k KEY -e NAME`: load test of images."""

from __future__ import annotations

import os
import sys

from ballast.loadtest.command import main
from ballast.loadtest.engine import Workload
from workers.comfyui.cost import image_workload

STEPS = 28


def make_payload(_tokens: float | None) -> tuple[dict[str, object], float]:
    """A standard image and its cost with the model in COMFY_MODEL (flux)."""
    model = os.environ.get("COMFY_MODEL") or "flux"
    payload: dict[str, object] = {
        "prompt": "a lighthouse on a cliff at dawn",
        "width": 1024,
        "height": 1024,
        "steps": STEPS,
        "seed": 42,
    }
    return payload, image_workload(model, 1024, 1024, STEPS)


WORKLOAD = Workload(route="/prompt", make_payload=make_payload)

if __name__ == "__main__":
    sys.exit(main(WORKLOAD))
