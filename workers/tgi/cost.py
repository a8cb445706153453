"""Cost rule of TGI: the tokens asked for."""

from __future__ import annotations

from workers.pyworker.back_end import JsonObject, PayloadError, positive_number, required_text

DEFAULT_MAX_NEW_TOKENS = 100.0
"""TGI's own default when `max_new_tokens` is not given."""


def workload(payload: JsonObject) -> float:
    """`parameters.max_new_tokens`.

    Raises:
        PayloadError: `inputs` or `parameters` is missing or of the wrong type.
    """
    required_text(payload, "inputs")
    parameters = payload.get("parameters")
    if parameters is None:
        return DEFAULT_MAX_NEW_TOKENS
    if not isinstance(parameters, dict):
        raise PayloadError({"parameters": "must be an object"})
    return positive_number(parameters, "max_new_tokens", DEFAULT_MAX_NEW_TOKENS)
