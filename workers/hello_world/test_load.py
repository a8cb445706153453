"""`python3 -m workers.hello_world.test_load -n 100 -rps 1 -k KEY -e NAME`: load test."""

from __future__ import annotations

import sys

from ballast.loadtest.command import main
from ballast.loadtest.engine import Workload

DEFAULT_TOKENS = 100.0


def make_payload(tokens: float | None) -> tuple[dict[str, object], float]:
    """A prompt for so many tokens, and its cost."""
    n_tokens = int(tokens or DEFAULT_TOKENS)
    return {"prompt": "Hello?", "max_response_tokens": n_tokens}, float(n_tokens)


WORKLOAD = Workload(route="/generate", make_payload=make_payload)

if __name__ == "__main__":
    sys.exit(main(WORKLOAD))
