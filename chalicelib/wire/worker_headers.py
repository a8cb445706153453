"""Headers between model server, worker, proxy and client: which pass, and our own. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MODEL_ANSWER = "X-Model-Answer"
"""On an error that the model server gave: its own words, which another worker's may repeat."""
SERVED_MODELS = "X-Served-Models"
"""On answers: what the model server calls what it serves, separated by commas."""
CONNECTION_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
"""About one connection, not about the answer (RFC 9110, 7.6.1)."""


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """An answer's headers without those about the connection itself."""
    named = {name.strip().lower() for name in headers.get("Connection", "").split(",")}
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in CONNECTION_HEADERS | named
    }
