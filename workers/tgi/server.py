"""Back end TGI: `/generate` and `/generate_stream`, in parallel."""

from __future__ import annotations

import random
import sys
from functools import partial

from workers.openai.server import CHAT
from workers.pyworker.__main__ import main
from workers.pyworker.back_end import BackEnd, Benchmark, JsonObject, LogMarkers, Route
from workers.pyworker.model.engine_metrics import read_engine_metrics
from workers.pyworker.model.load_phases import PhaseMark
from workers.pyworker.model.prompts import random_prompt
from workers.tgi.answers import READING
from workers.tgi.cost import generate_cost


def make_benchmark_payload(rng: random.Random, _model: str, n_tokens: int = 256) -> JsonObject:
    """A prompt no cache has seen, to be answered with as many tokens; `details` counts them."""
    parameters = {"max_new_tokens": n_tokens, "details": True}
    return {"inputs": random_prompt(rng, n_tokens), "parameters": parameters}


BACK_END = BackEnd(
    name="tgi",
    model_server_url="http://127.0.0.1:5001",
    routes=(
        Route(
            path="/generate", model_path="/generate", workload=generate_cost, read=READING.reader
        ),
        Route(
            path="/generate_stream",
            model_path="/generate_stream",
            workload=generate_cost,
            read=READING.reader,
        ),
        CHAT,  # TGI's own Messages API
    ),
    benchmark=Benchmark(
        route="/generate",
        make_payload=make_benchmark_payload,
        make_short=partial(make_benchmark_payload, n_tokens=8),
    ),
    health_path="/health",
    metrics_path="/metrics",
    read_metrics=read_engine_metrics,
    default_workload=100.0,  # TGI's own default of `max_new_tokens`
    log_markers=LogMarkers(
        loaded=(
            '"message":"Connected","target":"text_generation_router"',
            '"message":"Connected","target":"text_generation_router::server"',
        ),
        error=(
            *("Error: DownloadError", "Error: ShardCannotStart", "Error: ShardFailed"),
            *("Error: ShardDisconnected", "Error: WebserverFailed", "Error: WebserverCannotStart"),
        ),
        info=('"message":"Download',),
        # the launcher's and the router's own words: tests/evidence/models/published.json
        phases=(
            PhaseMark(r"Starting check and download process", "download"),
            PhaseMark(r"Starting shard", "weights"),
            PhaseMark(r"Warming up model", "warm-up"),
        ),
    ),
    required_env=("MODEL_ID",),
    model_command=(
        *("text-generation-launcher", "--model-id", "$MODEL_ID"),
        *("--hostname", "127.0.0.1", "--port", "5001", "--json-output"),
    ),
)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
