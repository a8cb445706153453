"""Cost rule of TGI: the tokens asked for."""

from __future__ import annotations

from chalicelib.wire.token_cost import chat_cost, generate_cost

__all__ = ["chat_cost", "generate_cost"]
