"""Words for vLLM that depend on the model: a context that fits the GPU, and tools that work. Pure.

Names of parsers as in vLLM 0.32.0's own list; `--max-model-len auto` takes the longest context that
the GPU's memory holds (tests/evidence/models/vllm-0.32.0.json: what it says without).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

TOOL_PARSERS = (
    ("llama-4", "llama4_pythonic"),
    ("llama-3", "llama3_json"),
    ("qwen3-coder", "qwen3_coder"),
    ("qwen", "hermes"),
    ("hermes", "hermes"),
    ("mistral", "mistral"),
    ("mixtral", "mistral"),
    ("gpt-oss", "openai"),
    ("gemma-4", "gemma4"),
)
"""By a part of the model's name, the first that fits; others serve no tools without MODEL_FLAGS."""


def vllm_words(env: Mapping[str, str]) -> tuple[str, ...]:
    """The words after `vllm serve NAME`: ours where MODEL_FLAGS does not say otherwise, then it."""
    given = shlex.split(env.get("MODEL_FLAGS", ""))
    names = {word.partition("=")[0] for word in given}
    words: list[str] = []
    if "--max-model-len" not in names:
        words += ["--max-model-len", "auto"]
    parser = _parser_of(env.get("MODEL_NAME", ""))
    if parser and "--tool-call-parser" not in names:
        words += ["--tool-call-parser", parser]
    has_parser = bool(parser) or "--tool-call-parser" in names
    if has_parser and "--enable-auto-tool-choice" not in names:
        words.append("--enable-auto-tool-choice")
    return (*words, *given)


def _parser_of(model: str) -> str:
    name = model.lower().replace("_", "-")
    return next((parser for part, parser in TOOL_PARSERS if part in name), "")
