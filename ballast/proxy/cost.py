"""The cost of an OpenAI request, estimated the way workers count it. Pure.

A proxy does not judge a payload: what the worker would refuse is given a default here, so that the
worker's own words reach the client.
"""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT_TOKENS = 256.0
CHARACTERS_PER_TOKEN = 4.0
MAX_COST = 1e9


def estimate_cost(route: str, payload: Mapping[str, object]) -> float:
    """Tokens asked for; for embeddings, tokens given."""
    if route.endswith("/embeddings"):
        given = payload.get("input")
        parts = given if isinstance(given, list) else [given]
        n_characters = sum(len(part) for part in parts if isinstance(part, str))
        return max(n_characters / CHARACTERS_PER_TOKEN, 1.0)
    tokens = _number(payload.get("max_tokens"), DEFAULT_TOKENS)
    tokens = _number(payload.get("max_completion_tokens"), tokens)
    return min(tokens * _number(payload.get("n"), 1.0), MAX_COST)


def _number(value: object, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_COST:
        return default
    return float(value)
