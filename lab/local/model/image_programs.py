"""`python -m lab.local.model.image_programs PROGRAM …`: the model servers of known images.

Whatever text model is asked for, vLLM and llama.cpp are stood in for by a REAL llama.cpp with
SmolLM2-135M under that model's name, and where they are to embed by a REAL multilingual-e5-small;
TGI and ComfyUI by the SIMULATED servers. They listen where
this machine has room for them (MODEL_PORT), not where their words say.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lab.local.model import embedding_server, llama_server, model_server
from lab.local.system import image_server


class ProgramError(ValueError):
    """No such program, or not with these words."""


def module_and_words(program: str, words: Sequence[str], port: str) -> tuple[str, list[str]]:
    """The module that stands in for a program called with these words, and its own words.

    Raises:
        ProgramError: the program would not start either.
    """
    if program == "vllm":
        if len(words) < 2 or words[0] != "serve":
            raise ProgramError(f"vllm: expected `serve MODEL`, got {' '.join(words)!r}")
        embeds = "--runner" in words and _value(words, "--runner") == "pooling"
        return _text_server(embeds=embeds), ["--port", port, "--alias", words[1]]
    if program == "llama-server":
        module = _text_server(embeds="--embeddings" in words)
        return module, ["--port", port, "--alias", _value(words, "--hf-repo")]
    if program == "python" and words[:1] and words[0].endswith("/ComfyUI/main.py"):
        return image_server.__name__, ["--port", port, "--log", "/dev/stdout"]
    if program == "tgi-entrypoint.sh":
        _value(words, "--model-id")
        return model_server.__name__, ["--port", port]
    raise ProgramError(f"no image here has a program {program!r}")


def _text_server(*, embeds: bool) -> str:
    return (embedding_server if embeds else llama_server).__name__


def _value(words: Sequence[str], flag: str) -> str:
    if flag not in words[:-1]:
        raise ProgramError(f"{flag} MODEL is missing")
    return words[words.index(flag) + 1]


def main() -> None:
    """Become the stand-in; 2 with the reason for words that the program would refuse."""
    try:
        module, words = module_and_words(sys.argv[1], sys.argv[2:], os.environ["MODEL_PORT"])
    except ProgramError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    os.execv(sys.executable, [sys.executable, "-m", module, *words])  # noqa: S606


if __name__ == "__main__":
    main()
