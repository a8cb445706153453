"""What answers in OpenAI's form tell: tokens made, tokens embedded, errors inside a stream.

Shapes: tests/evidence/models/vllm-0.32.0.json and llama.cpp-*.json.
"""

from __future__ import annotations

import json
import re

from chalicelib.wire.token_cost import read_cost
from workers.pyworker.model.answers import (
    JsonObject,
    PromptRead,
    Reading,
    count_of,
    words_in,
)

_MADE = ("completion_tokens", "output_tokens")
"""Of chat and completions, and of `/v1/responses`."""
_READ = ("prompt_tokens", "total_tokens")
"""Where nothing is made: of embeddings, and of reranking."""
_FULL = re.compile(r"\b(currently busy|queue is full|too many requests|overloaded)\b", re.I)
_END = re.compile(
    rb'^data: ?\[DONE\]|(?<!\\)"finish_reason" ?: ?"|"response\.(?:completed|incomplete|failed)"'
)
_NOT_SERVED = re.compile(r"\b(not supported|does not support|doesn't support|unsupported)\b", re.I)
_OF_GPUS = re.compile(r"\b(cuda|cublas|cudnn|nccl|ptx|hip|rocm)", re.I)
"""CUDA says `operation not supported` and `unsupported toolchain` of itself (its cudaError_t)."""


def work_of(answer: JsonObject) -> float | None:
    """Tokens that were generated, and the cost of a long prompt that was not cached.

    Of embeddings and reranking, tokens that were read. llama.cpp's streams tell it in `timings`.
    """
    usage = _usage_of(answer)
    if usage is None:
        return _work_of_timings(answer.get("timings"))
    made = _count(usage, *_MADE)
    read = _count(usage, *_READ, "input_tokens")
    if made is None:
        return read
    return made + read_cost((read or 0.0) - (_cached(usage) or 0.0))


def _work_of_timings(timings: object) -> float | None:
    if not isinstance(timings, dict):
        return None
    made, computed = _count(timings, "predicted_n"), _count(timings, "prompt_n")
    return None if made is None else made + read_cost(computed or 0.0)


def prompt_of(answer: JsonObject) -> PromptRead | None:
    """The prompt's tokens, and how many the server had cached: in `usage`, else in `timings`.

    `timings` is llama.cpp's, in a stream's last event, too; vLLM and SGLang tell in `usage` only if
    they are told to, and count in `/metrics` (tests/evidence/models).
    """
    usage = _usage_of(answer)
    if usage is not None and (cached := _cached(usage)) is not None:
        read = _count(usage, "prompt_tokens", "input_tokens")
        return PromptRead(max(read or 0.0, cached), cached)
    timings = answer.get("timings")
    if not isinstance(timings, dict):
        return None
    hit, computed = _count(timings, "cache_n"), _count(timings, "prompt_n")
    return None if hit is None or computed is None else PromptRead(hit + computed, hit)


def _usage_of(answer: JsonObject) -> JsonObject | None:
    usage = answer.get("usage")
    response = answer.get("response")
    if usage is None and isinstance(response, dict):  # /v1/responses tells it in its last event
        usage = response.get("usage")
    return usage if isinstance(usage, dict) else None


def _cached(usage: JsonObject) -> float | None:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return _count(details, "cached_tokens") if isinstance(details, dict) else None


def _count(values: JsonObject, *names: str) -> float | None:
    for name in names:
        if (count := count_of(values.get(name))) is not None:
            return count
    return None


def is_busy(body: bytes) -> bool:
    """Whether a 503 says that the server's queue is full (vLLM's and SGLang's words)."""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        error = None  # words alone, of an error inside a stream
    inner = error.get("error", error) if isinstance(error, dict) else None
    kind = inner.get("type") if isinstance(inner, dict) else None
    return kind == "Service Unavailable" or _FULL.search(words_in(body)) is not None


def is_clients_fault(body: bytes) -> bool:
    """Whether a 500 says that the model cannot do what was asked (llama.cpp: images)."""
    words = words_in(body)
    return _NOT_SERVED.search(words) is not None and _OF_GPUS.search(words) is None


def _is_token(line: bytes) -> bool:
    """An event of a stream with a token, also an empty one; the first only names the role."""
    if b'"choices"' in line:
        return b'"role"' not in line and b'"choices":[]' not in line
    return b'.delta"' in line  # /v1/responses


def _is_end(line: bytes) -> bool | None:
    """Whether it says that all is said: `[DONE]`, a reason why it finished, the last of a response.

    Streams that stopped with neither over a connection that ended well: vLLM's issue 52852, whose
    server noticed nothing. Servers that send a reason and no `[DONE]` are whole.
    """
    if _END.search(line):
        return True
    return False if b'"choices"' in line or b'.delta"' in line else None


READING = Reading(work_of=work_of, is_token=_is_token, prompt_of=prompt_of, is_end=_is_end)
