"""Cost rules of the OpenAI API: tokens asked for; for embeddings, tokens given."""

from __future__ import annotations

from workers.pyworker.back_end import JsonObject, PayloadError, positive_number

DEFAULT_TOKENS = 256.0
CHARACTERS_PER_TOKEN = 4.0


def chat_workload(payload: JsonObject) -> float:
    """`max_completion_tokens` or `max_tokens`, times `n`.

    Raises:
        PayloadError: `messages` is missing, or a number is wrong.
    """
    messages = payload.get("messages")
    if not isinstance(messages, list) or not messages:
        raise PayloadError({"messages": "must be a list with at least one message"})
    tokens = positive_number(payload, "max_tokens", DEFAULT_TOKENS)
    tokens = positive_number(payload, "max_completion_tokens", tokens)
    return tokens * positive_number(payload, "n", 1.0)


def completion_workload(payload: JsonObject) -> float:
    """`max_tokens`, times `n`.

    Raises:
        PayloadError: `prompt` is missing, or a number is wrong.
    """
    if not isinstance(payload.get("prompt"), str | list):
        raise PayloadError({"prompt": "must be a string or a list"})
    tokens = positive_number(payload, "max_tokens", DEFAULT_TOKENS)
    return tokens * positive_number(payload, "n", 1.0)


def embedding_workload(payload: JsonObject) -> float:
    """A token for each four characters of `input`; token ids count one each; at least 1.

    Raises:
        PayloadError: `input` is missing or of the wrong type.
    """
    given = payload.get("input")
    if not isinstance(given, str | list):
        raise PayloadError({"input": "must be a string or a list"})
    parts = [given] if isinstance(given, str) else given
    return max(sum(_tokens(part) for part in parts), 1.0)


def _tokens(part: object) -> float:
    if isinstance(part, str):
        return len(part) / CHARACTERS_PER_TOKEN
    return float(len(part)) if isinstance(part, list) else 1.0
