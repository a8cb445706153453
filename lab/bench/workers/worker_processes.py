"""What `worker_overhead.py` starts: a model server, our worker, the vendor's."""

from __future__ import annotations

import os
import sys

from aiohttp import web

# Each role imports its own, so that its memory is its own.

PROMPT = {"inputs": "hello", "parameters": {"max_new_tokens": 100}}


class Forgotten(list[bytes]):
    """Keeps nothing: the model server's memory is to be a bare server's."""

    def append(self, _body: bytes) -> None:
        """Let go of it."""


def run_model(port: int) -> None:
    """A model server that answers at once."""
    from fakes.scripted_model_server import ScriptedModelServer

    app = ScriptedModelServer(bodies=Forgotten()).application()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


def run_ours() -> None:
    """Our worker for TGI, in this process."""
    from workers.pyworker.__main__ import main as run_worker
    from workers.tgi.server import BACK_END

    run_worker(BACK_END)


def run_vendor() -> None:
    """The vendor's Worker in front of the model server, in this process."""
    from vastai import BenchmarkConfig, HandlerConfig, LogActionConfig, Worker, WorkerConfig

    os.chdir(os.environ["STATE_DIR"])
    url, _, port = os.environ["MODEL_SERVER_URL"].rpartition(":")
    benchmark = BenchmarkConfig(dataset=[PROMPT], runs=1, concurrency=2)
    Worker(
        WorkerConfig(
            model_server_url=url,
            model_server_port=int(port),
            model_log_file=os.environ["MODEL_LOG"],
            model_healthcheck_url="/health",
            handlers=[
                HandlerConfig(
                    route="/generate",
                    allow_parallel_requests=True,
                    max_queue_time=1e9,
                    workload_calculator=lambda _payload: 100.0,
                    benchmark_config=benchmark,
                ),
                HandlerConfig(
                    route="/generate_stream", allow_parallel_requests=True, max_queue_time=1e9
                ),
            ],
            log_action_config=LogActionConfig(on_load=["loaded"]),
        )
    ).run()


def main(role: str, *arguments: str) -> None:
    """Play one role until killed."""
    if role == "model":
        run_model(int(arguments[0]))
    elif role == "vendor":
        run_vendor()
    else:
        run_ours()


if __name__ == "__main__":
    main(*sys.argv[1:])
