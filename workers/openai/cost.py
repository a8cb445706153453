"""Cost rules of the OpenAI API: tokens asked for; for embeddings and reranking, tokens given."""

from __future__ import annotations

from chalicelib.wire.token_cost import (
    DEFAULT_TOKENS,
    chat_cost,
    completion_cost,
    embedding_cost,
    rerank_cost,
    responses_cost,
)

__all__ = [
    "DEFAULT_TOKENS",
    "audio_cost",
    "chat_cost",
    "completion_cost",
    "embedding_cost",
    "rerank_cost",
    "responses_cost",
    "transcription_cost",
]

CHARACTERS_OF_SPEECH_PER_TOKEN = 4.0
BYTES_OF_SPEECH_PER_TOKEN = 1000.0
"""64 kbit/s are 8,000 bytes a second, in which about six tokens are spoken (150 words a minute)."""


def audio_cost(payload: dict[str, object]) -> float:
    """Speech to be made: a quarter of the characters of `input`; at least 1."""
    text = payload.get("input")
    return max(len(text) / CHARACTERS_OF_SPEECH_PER_TOKEN, 1.0) if isinstance(text, str) else 1.0


def transcription_cost(payload: dict[str, object]) -> float:
    """Speech to be read: its bytes as a compressed recording of words; at least 1."""
    file = payload.get("file")
    n_bytes = len(file) * 3 / 4 if isinstance(file, str) else 0.0
    return max(n_bytes / BYTES_OF_SPEECH_PER_TOKEN, 1.0)
