"""The cost of an OpenAI request: the very rule by which workers count."""

from __future__ import annotations

from chalicelib.wire.token_cost import DEFAULT_TOKENS, MAX_COST, cost_of

__all__ = ["DEFAULT_TOKENS", "MAX_COST", "estimate_cost"]

estimate_cost = cost_of
