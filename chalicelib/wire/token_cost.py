"""The cost of a request to a language model in tokens, for callers, proxy and workers alike. Pure.

A cost rule judges nothing: what it does not know it prices, and the model server says in its own
words what it does not take (vLLM serves `max_tokens: 0` with `echo`, llama.cpp `max_tokens: -1`;
tests/evidence/models). What was really used is booked afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress

from chalicelib.wire.ticket import MAX_COST

DEFAULT_TOKENS = 256.0
TGI_TOKENS = 100.0  # where the request says nothing
CHARACTERS_PER_TOKEN = 4.0
MAX_DIGITS = 4_300  # Python reads no longer number of a text, nor does what is written in it
MAX_TOKENS = 1e6
"""Of one sequence: above every model's context, so that a made-up number stays a number."""
FREE_PROMPT_TOKENS = 1024.0
PROMPT_SHARE = 1 / 20
"""A token read costs a small part of a token written: prompts are read in large batches. Below
FREE_PROMPT_TOKENS it is part of the speed that the benchmark measured with a prompt of its own."""


def chat_cost(payload: Mapping[str, object]) -> float:
    """Tokens that a chat may make, for all its choices, and the long part of its prompt."""
    tokens = _number(payload, "max_completion_tokens", "max_tokens", "n_predict")
    # Templates write the tools into the prompt.
    characters = _n_characters(payload.get("messages")) + _n_characters(payload.get("tools"))
    prompt = read_cost(characters / CHARACTERS_PER_TOKEN)
    return _bounded(tokens * _times(payload, "n") + prompt)


def completion_cost(payload: Mapping[str, object]) -> float:
    """Tokens that a completion may make, for all its prompts and choices, and long prompts."""
    prompt = payload.get("prompt")
    is_list_of_prompts = isinstance(prompt, list) and not all(isinstance(p, int) for p in prompt)
    n_prompts = float(len(prompt)) if isinstance(prompt, list) and is_list_of_prompts else 1.0
    tokens = _number(payload, "max_tokens", "n_predict")
    # vLLM's and the older OpenAI servers' best_of: so many are made, n of them are sent.
    n_choices = max(_times(payload, "n"), _times(payload, "best_of"))
    return _bounded(tokens * n_choices * max(n_prompts, 1.0) + read_cost(prompt_tokens(prompt)))


def responses_cost(payload: Mapping[str, object]) -> float:
    """Tokens that `/v1/responses` may make."""
    tokens = _number(payload, "max_output_tokens")
    characters = _n_characters(payload.get("input")) + _n_characters(payload.get("instructions"))
    return _bounded(tokens + read_cost(characters / CHARACTERS_PER_TOKEN))


def embedding_cost(payload: Mapping[str, object]) -> float:
    """Tokens given: a quarter of the characters of `input`, one for a token id; at least 1."""
    return _bounded(max(prompt_tokens(payload.get("input")), 1.0))


def rerank_cost(payload: Mapping[str, object]) -> float:
    """Tokens given: each document with the query."""
    documents = payload.get("documents", payload.get("texts", payload.get("text_2")))
    n_documents = len(documents) if isinstance(documents, list) else 1
    query = payload.get("query", payload.get("text_1"))
    tokens = prompt_tokens(documents) + n_documents * prompt_tokens(query)
    return _bounded(max(tokens, 1.0))


def generate_cost(payload: Mapping[str, object]) -> float:
    """TGI's `/generate`: `parameters.max_new_tokens` times `best_of`."""
    parameters = payload.get("parameters")
    values = parameters if isinstance(parameters, dict) else {}
    tokens = _number(values, "max_new_tokens", default=TGI_TOKENS)
    return _bounded(
        tokens * _times(values, "best_of") + read_cost(prompt_tokens(payload.get("inputs")))
    )


def read_cost(prompt_tokens: float) -> float:
    """What reading a prompt of so many tokens costs."""
    return max(prompt_tokens - FREE_PROMPT_TOKENS, 0.0) * PROMPT_SHARE


_FILES = frozenset({"data", "file_data"})
"""Of `input_audio` and `file`, which OpenAI's API takes in bare base64."""
COSTS = {
    "/chat/completions": chat_cost,
    "/completions": completion_cost,
    "/responses": responses_cost,
    "/embeddings": embedding_cost,
    "/rerank": rerank_cost,
    "/score": rerank_cost,
    "/generate": generate_cost,
    "/generate_stream": generate_cost,
}
"""By the end of a route of OpenAI's API, or TGI's own."""


def cost_of(route: str, payload: Mapping[str, object]) -> float:
    """The cost of a request to this route; DEFAULT_TOKENS where nothing is known about it."""
    for end, rule in COSTS.items():
        if route.endswith(end):
            return rule(payload)
    return DEFAULT_TOKENS


def _number(values: Mapping[str, object], *names: str, default: float = DEFAULT_TOKENS) -> float:
    """The largest of these; no limit (-1), nothing and nonsense are the default.

    Servers differ in which they take of several, and read numbers written as text, as pydantic
    does (docs.pydantic.dev/latest/concepts/strict_mode): what is not counted is served unpaid.
    """
    given = [_as_number(values.get(name)) for name in names]
    # False for NaN; min before float, as JSON's whole numbers have no end.
    known = [float(min(max(value, 1.0), MAX_TOKENS)) for value in given if value >= 0]
    return max(known, default=default)


def _as_number(value: object) -> float | int:
    """A number, also of a text; NaN if it is none."""
    if isinstance(value, str) and len(value) <= MAX_DIGITS:
        with suppress(ValueError):
            return float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _times(values: Mapping[str, object], name: str) -> float:
    return _number(values, name, default=1.0)


def _bounded(cost: float) -> float:
    return min(cost, MAX_COST)


def prompt_tokens(value: object) -> float:
    """Tokens of a text, of token ids, or of a list of either."""
    if isinstance(value, str):
        return len(value) / CHARACTERS_PER_TOKEN
    if isinstance(value, list):
        return sum(prompt_tokens(part) for part in value)
    if isinstance(value, dict):
        return _n_characters(value) / CHARACTERS_PER_TOKEN
    return 1.0 if isinstance(value, int) and not isinstance(value, bool) else 0.0


def _n_characters(value: object, depth: int = 0) -> float:
    """Characters of all texts inside; data URLs are no text, nor are files in bare base64."""
    if isinstance(value, str):
        return 0.0 if value.startswith("data:") else float(len(value))
    if depth > 8:
        return 0.0
    if isinstance(value, list):
        return sum(_n_characters(part, depth + 1) for part in value)
    if isinstance(value, dict):
        return sum(
            _n_characters(part, depth + 1)
            for name, part in value.items()
            if not (name in _FILES and isinstance(part, str))
        )
    return 0.0
