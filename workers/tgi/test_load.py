"""`python3 -m workers.tgi.test_load -n 1000 -rps 1 -k KEY -e NAME`: load test of TGI."""

from __future__ import annotations

import sys

from ballast.loadtest.command import main
from ballast.loadtest.engine import Workload

DEFAULT_TOKENS = 256.0


def make_payload(tokens: float | None) -> tuple[dict[str, object], float]:
    """A prompt for so many tokens, and its cost."""
    n_tokens = int(tokens or DEFAULT_TOKENS)
    parameters = {"max_new_tokens": n_tokens}
    return {"inputs": "Tell a long story.", "parameters": parameters}, float(n_tokens)


WORKLOAD = Workload(route="/generate_stream", make_payload=make_payload)

if __name__ == "__main__":
    sys.exit(main(WORKLOAD))
