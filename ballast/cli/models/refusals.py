"""Models that no back end here can load: told before a machine is paid for. Pure."""

from __future__ import annotations

import re

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.models.hub import WEIGHTS, ModelFacts

VLLM_PACKINGS = frozenset(
    (
        *("awq", "auto-awq", "awq-marlin", "gptq", "auto-gptq", "gptq-marlin", "moe-wna16"),
        *("fp8", "fbgemm-fp8", "deepseek-v4-fp8", "fp-quant", "mxfp4", "gpt-oss-mxfp4", "mxfp8"),
        *("modelopt", "modelopt-fp4", "modelopt-mxfp8", "modelopt-mixed", "compressed-tensors"),
        *("experts-int8", "quark", "torchao", "humming", "inc", "auto-round", "intel/auto-round"),
    )
)
"""Quantisations that the template's vLLM 0.32 loads (tests/evidence/huggingface/README.md)."""

_QUANTISATION = re.compile(
    r"(UD-)?((I?Q|TQ)[1-8](_[0-9A-Z]{1,3}){0,3}|BF16|F16|F32|MXFP4(_MOE)?|NVFP4)", re.IGNORECASE
)
"""As llama.cpp (`llama-quantize --help`) and repositories on the hub name the types of files."""

CONFIGURATIONS = ("config.json", "params.json")  # vLLM reads one of them: the second is Mistral's


def refuse_what_is_no_model(facts: ModelFacts) -> None:
    """An adapter, files that nothing here reads, what this token may not read.

    Raises:
        CliError: it is one of these.
    """
    if facts.is_adapter:
        base = f", {facts.base}," if facts.base else ""
        raise CliError(
            f"{facts.name} is an adapter; its base model{base} is not in it",
            code=ExitCode.USAGE,
            fix="merge it into its base and publish that; or serve the base with "
            "MODEL_FLAGS='--enable-lora --lora-modules …' in a template of your own",
        )
    if not facts.is_readable:
        raise CliError(
            f"{facts.name} may not be read with this HF_TOKEN",
            fix=f"accept its terms at https://huggingface.co/{facts.name} as the token's owner",
        )
    if facts.names and not facts.files and not facts.weights_gb:
        raise CliError(
            f"{facts.name} holds no weights that a back end here loads ({', '.join(WEIGHTS)})",
            code=ExitCode.USAGE,
            fix=_another(facts, "take a variant of it that does"),
        )


def refuse_what_cannot_load(facts: ModelFacts, back_end: str, quantisation: str) -> None:
    """What would be rented, and never be ready.

    Raises:
        CliError: this back end cannot load this model.
    """
    if not facts.names and not facts.files:  # nobody was asked
        _refuse_unheard_quantisation(back_end, quantisation)
        return
    has_gguf = bool(facts.gguf_files)
    only_gguf = has_gguf and len(facts.gguf_files) == len(facts.files)
    if back_end == "llamacpp" and not has_gguf:
        raise CliError(
            f"{facts.name} has no .gguf file, which llama.cpp needs",
            code=ExitCode.USAGE,
            fix="take its variant in GGUF (often …-GGUF), or leave --back-end away",
        )
    if back_end == "llamacpp":
        return
    if quantisation:
        raise CliError(
            f"{facts.name} has no .gguf file of {quantisation}; {back_end} loads it as it is",
            code=ExitCode.USAGE,
            fix="leave --quantisation away, or take the model's variant in GGUF",
        )
    if only_gguf:
        raise CliError(
            f"{facts.name} has .gguf files alone, which {back_end} does not load here",
            code=ExitCode.USAGE,
            fix=_another(facts, "leave --back-end away: llama.cpp serves it"),
        )
    if facts.library == "mlx":
        raise CliError(
            f"{facts.name} is packed for Apple's MLX, which needs a Mac",
            code=ExitCode.USAGE,
            fix=_another(facts, "take the model that it was made of"),
        )
    if facts.names and not facts.names.intersection(CONFIGURATIONS):
        raise CliError(
            f"{facts.name} has no {CONFIGURATIONS[0]}, without which {back_end} loads no model",
            code=ExitCode.USAGE,
            fix=_another(facts, "take a variant of it that has one"),
        )
    if back_end == "vllm" and facts.packing and facts.packing not in VLLM_PACKINGS:
        raise CliError(
            f"{facts.name} is quantised with {facts.packing}, which vLLM does not load",
            code=ExitCode.USAGE,
            fix=_another(facts, "take a variant in AWQ, GPTQ, FP8 or GGUF"),
        )


def _refuse_unheard_quantisation(back_end: str, quantisation: str) -> None:
    if quantisation and back_end != "llamacpp":
        raise CliError(
            f"--quantisation is of GGUF files, which {back_end} does not load here",
            code=ExitCode.USAGE,
            fix="leave one of both away: --quantisation or --back-end",
        )
    if quantisation and not _QUANTISATION.fullmatch(quantisation):
        raise CliError(
            f"{quantisation!r} is no quantisation of GGUF files",
            code=ExitCode.USAGE,
            fix="write it as the model's page does, such as Q4_K_M, IQ4_XS, MXFP4 or BF16",
        )


def _another(facts: ModelFacts, fix: str) -> str:
    return f"{fix}; it was made of {facts.base}" if facts.base else fix
