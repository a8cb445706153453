"""A worker program on the vendor's own, unmodified SDK (`vastai.Worker`, ticket generation C)."""

from __future__ import annotations

import os

from vastai import BenchmarkConfig, HandlerConfig, LogActionConfig, Worker, WorkerConfig

from lab.local.model.model_server import READY_LINE

BENCHMARK_PROMPT = {"inputs": "benchmark", "parameters": {"max_new_tokens": 40}}


def workload(payload: dict[str, object]) -> float:
    """Tokens that a request asks for."""
    parameters = payload.get("parameters")
    wanted = parameters.get("max_new_tokens") if isinstance(parameters, dict) else None
    return float(wanted or 20)


def main() -> None:
    """Front the model server on MODEL_PORT until the process is ended."""
    config = WorkerConfig(
        model_server_url="http://127.0.0.1",
        model_server_port=int(os.environ["MODEL_PORT"]),
        model_log_file=os.environ["MODEL_LOG"],
        model_healthcheck_url="/health",
        log_action_config=LogActionConfig(on_load=[READY_LINE]),
        handlers=[
            HandlerConfig(
                route="/generate",
                allow_parallel_requests=True,
                workload_calculator=workload,
                benchmark_config=BenchmarkConfig(
                    dataset=[BENCHMARK_PROMPT], runs=2, concurrency=10
                ),
            ),
            HandlerConfig(
                route="/generate_stream",
                allow_parallel_requests=True,
                workload_calculator=workload,
            ),
        ],
    )
    Worker(config).run()


if __name__ == "__main__":
    main()
