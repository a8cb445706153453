"""Back end openai: vLLM, SGLang, llama.cpp and whatever else speaks the OpenAI API."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from functools import partial

from workers.openai.answers import READING, is_busy, is_clients_fault
from workers.openai.cost import (
    audio_cost,
    chat_cost,
    completion_cost,
    embedding_cost,
    rerank_cost,
    responses_cost,
    transcription_cost,
)
from workers.openai.flags import vllm_words
from workers.pyworker.__main__ import main
from workers.pyworker.back_end import BackEnd, Benchmark, JsonObject, LogMarkers, Route
from workers.pyworker.model.engine_metrics import read_engine_metrics
from workers.pyworker.model.load_phases import PhaseMark
from workers.pyworker.model.prompts import random_prompt

BENCHMARK_TOKENS = 128


def make_benchmark_payload(
    rng: random.Random, model: str, n_tokens: int = BENCHMARK_TOKENS
) -> JsonObject:
    """A completion of so many tokens; `ignore_eos` keeps short ones from flattering the result."""
    payload: JsonObject = {
        "prompt": random_prompt(rng, 60),
        "max_tokens": n_tokens,
        "temperature": 0.7,
        "ignore_eos": True,
    }
    if model:
        payload["model"] = model
    return payload


def make_embedding_payload(rng: random.Random, model: str) -> JsonObject:
    """A text of about 128 tokens, for models that embed and do not write."""
    payload: JsonObject = {"input": random_prompt(rng, BENCHMARK_TOKENS)}
    if model:
        payload["model"] = model
    return payload


def route(
    path: str, workload: Callable[[JsonObject], float], *aliases: str, is_form: bool = False
) -> Route:
    """A path of OpenAI's API, read and judged as its servers answer."""
    return Route(
        path=path,
        model_path=path,
        aliases=aliases,
        workload=workload,
        read=READING.reader,
        is_busy=is_busy,
        is_clients_fault=is_clients_fault,
        is_form=is_form,
    )


CHAT = route("/v1/chat/completions", chat_cost)
ROUTES = (
    CHAT,
    route("/v1/completions", completion_cost),
    route("/v1/responses", responses_cost),
    route("/v1/embeddings", embedding_cost),
    route("/v1/rerank", rerank_cost, "/rerank", "/v2/rerank"),
    route("/v1/score", rerank_cost, "/score"),
    route("/v1/audio/speech", audio_cost),
    route("/v1/audio/transcriptions", transcription_cost, is_form=True),
    route("/v1/audio/translations", transcription_cost, is_form=True),
)

BACK_END = BackEnd(
    name="openai",
    model_server_url="http://127.0.0.1:18000",
    routes=ROUTES,
    benchmark=Benchmark(
        route="/v1/completions",
        make_payload=make_benchmark_payload,
        make_short=partial(make_benchmark_payload, n_tokens=8),
        n_rounds=2,
        concurrency=8,
    ),
    other_benchmarks=(Benchmark(route="/v1/embeddings", make_payload=make_embedding_payload),),
    health_path="/health",
    models_path="/v1/models",
    metrics_path="/metrics",
    read_metrics=read_engine_metrics,
    log_markers=LogMarkers(
        loaded=(
            "Application startup complete.",
            "server is listening on",
            "llama server listening",
        ),
        error=(
            *("RuntimeError: Engine", "error loading model", "CUDA out of memory"),
            "Scheduler hit an exception",  # SGLang's: its HTTP server goes on
        ),
        info=('{"timestamp":', "Downloading"),
        # vLLM 0.32's own lines: tests/evidence/models/vllm-0.32.0.json
        phases=(
            PhaseMark(r"non-default args|Using max model len", "configuration"),
            PhaseMark(r"Time spent downloading weights for", "download", is_end=True),
            PhaseMark(r"Starting to load model", "weights"),
            PhaseMark(r"Warming up model|torch\.compile|Dynamo bytecode", "compile"),
            PhaseMark(r"init engine|Capturing CUDA graph|Capture cuda graph begin", "warm-up"),
            PhaseMark(r"Load weight begin", "weights"),  # SGLang
            PhaseMark(r"loading model|load_tensors:", "weights"),  # llama.cpp
            PhaseMark(r"warming up the model", "warm-up"),
        ),
    ),
    required_env=("MODEL_NAME",),
    model_command=("vllm", "serve", "$MODEL_NAME", "--host", "127.0.0.1", "--port", "18000"),
    more_words=vllm_words,
    max_queue_time_s=60.0,
)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
