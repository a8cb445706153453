"""Back end TGI: `/generate` and `/generate_stream`, in parallel."""

from __future__ import annotations

import random
import sys
from functools import partial

from workers.pyworker.__main__ import main
from workers.pyworker.back_end import BackEnd, Benchmark, JsonObject, LogMarkers, Route
from workers.pyworker.model.prompts import random_prompt
from workers.tgi.cost import workload


def make_benchmark_payload(rng: random.Random, _model: str, n_tokens: int = 256) -> JsonObject:
    """A prompt no cache has seen, answered with as many tokens."""
    return {"inputs": random_prompt(rng, n_tokens), "parameters": {"max_new_tokens": n_tokens}}


BACK_END = BackEnd(
    name="tgi",
    model_server_url="http://127.0.0.1:5001",
    routes=(
        Route(path="/generate", model_path="/generate", workload=workload),
        Route(path="/generate_stream", model_path="/generate_stream", workload=workload),
    ),
    benchmark=Benchmark(
        route="/generate",
        make_payload=make_benchmark_payload,
        make_short=partial(make_benchmark_payload, n_tokens=8),
    ),
    health_path="/health",
    log_markers=LogMarkers(
        loaded=(
            '"message":"Connected","target":"text_generation_router"',
            '"message":"Connected","target":"text_generation_router::server"',
        ),
        error=("Error: WebserverFailed", "Error: DownloadError", "Error: ShardCannotStart"),
        info=('"message":"Download',),
    ),
    required_env=("MODEL_ID",),
    model_command=(
        *("text-generation-launcher", "--model-id", "$MODEL_ID"),
        *("--hostname", "127.0.0.1", "--port", "5001", "--json-output"),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
