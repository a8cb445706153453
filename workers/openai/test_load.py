"""`python3 -m workers.openai.test_load -n 100 -rps 1 -k KEY -e NAME`: load test of chats."""

from __future__ import annotations

import os
import sys

from ballast.loadtest.command import main
from ballast.loadtest.engine import Workload

DEFAULT_TOKENS = 256.0


def make_payload(tokens: float | None) -> tuple[dict[str, object], float]:
    """A streamed chat of so many tokens, and its cost; the model's name from MODEL_NAME."""
    n_tokens = int(tokens or DEFAULT_TOKENS)
    payload: dict[str, object] = {
        "messages": [{"role": "user", "content": "Tell a long story."}],
        "max_tokens": n_tokens,
        "stream": True,
    }
    if model := os.environ.get("MODEL_NAME"):
        payload["model"] = model
    return payload, float(n_tokens)


WORKLOAD = Workload(route="/v1/chat/completions", make_payload=make_payload)

if __name__ == "__main__":
    sys.exit(main(WORKLOAD))
