"""Back end hello_world: the smallest one, to copy from."""

from __future__ import annotations

import random
import sys
from functools import partial

from workers.hello_world.model_server import LOADED, URL
from workers.pyworker.__main__ import main
from workers.pyworker.back_end import (
    BackEnd,
    Benchmark,
    JsonObject,
    LogMarkers,
    Route,
    positive_number,
    required_text,
)
from workers.pyworker.model.prompts import random_prompt


def workload(payload: JsonObject) -> float:
    """The tokens asked for: `max_response_tokens` (256 when not given)."""
    required_text(payload, "prompt")
    return positive_number(payload, "max_response_tokens", 256.0)


def make_benchmark_payload(rng: random.Random, _model: str, n_tokens: int = 256) -> JsonObject:
    """A random prompt answered with so many tokens."""
    return {"prompt": random_prompt(rng, 100), "max_response_tokens": n_tokens}


BACK_END = BackEnd(
    name="hello_world",
    model_server_url=URL,
    routes=(
        Route(path="/generate", model_path="/generate", workload=workload),
        Route(path="/generate_stream", model_path="/generate_stream", workload=workload),
    ),
    benchmark=Benchmark(
        route="/generate",
        make_payload=make_benchmark_payload,
        make_short=partial(make_benchmark_payload, n_tokens=8),
    ),
    log_markers=LogMarkers(
        loaded=(LOADED,),
        error=("Exception: corrupted model file",),
        info=('"message":"Download',),
    ),
    model_command=("$BALLAST_PYTHON", "-E", "-m", "workers.hello_world.model_server"),
)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
