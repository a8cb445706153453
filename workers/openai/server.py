"""Back end openai: vLLM, SGLang, llama.cpp and whatever else speaks the OpenAI API."""

from __future__ import annotations

import random
import sys
from functools import partial

from workers.openai.cost import chat_workload, completion_workload, embedding_workload
from workers.pyworker.__main__ import main
from workers.pyworker.back_end import BackEnd, Benchmark, JsonObject, LogMarkers, Route
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


BACK_END = BackEnd(
    name="openai",
    model_server_url="http://127.0.0.1:18000",
    routes=(
        Route(
            path="/v1/chat/completions", model_path="/v1/chat/completions", workload=chat_workload
        ),
        Route(path="/v1/completions", model_path="/v1/completions", workload=completion_workload),
        Route(path="/v1/embeddings", model_path="/v1/embeddings", workload=embedding_workload),
    ),
    benchmark=Benchmark(
        route="/v1/completions",
        make_payload=make_benchmark_payload,
        make_short=partial(make_benchmark_payload, n_tokens=8),
        n_rounds=2,
        concurrency=8,
    ),
    other_benchmarks=(Benchmark(route="/v1/embeddings", make_payload=make_embedding_payload),),
    health_path="/health",
    log_markers=LogMarkers(
        loaded=(
            "Application startup complete.",
            "server is listening on",
            "llama server listening",
        ),
        error=("RuntimeError: Engine", "error loading model", "CUDA out of memory"),
        info=('"message":"Download',),
    ),
    required_env=("MODEL_NAME",),
    model_command=("vllm", "serve", "$MODEL_NAME", "--host", "127.0.0.1", "--port", "18000"),
    max_queue_time_s=60.0,
)

if __name__ == "__main__":
    sys.exit(main(BACK_END))
