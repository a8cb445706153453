"""Which back end serves a model, how much GPU memory it needs, and which machines have it. Pure.

Memory = weights x 1.2 (what the model server itself takes) + a KV cache of KV_TOKENS tokens.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.models.hub import ModelFacts
from ballast.templates import WorkerTemplate, load_template

OVERHEAD = 1.2
KV_TOKENS = 32_768
"""Room for 16 conversations of 2,048 tokens at once, or one of 32,768."""

KV_SHARE = 0.25
"""Of the weights, where the model does not tell its layers: grouped-query models need less."""

LARGEST_GPU_GB = 80  # A100 and H100, the largest that are offered in numbers
GPU_COUNTS = (1, 2, 4, 8)
SMALLEST_GPU_GB = 8
DISK_OVER_WEIGHTS = 1.3
IMAGE_GB = 24.0  # the unpacked image of vLLM or llama.cpp with CUDA
GUESSED_TOKENS = 8_192  # what is counted on where the model does not tell; then vLLM decides
WRITES = ("text-generation", "conversational", "any-to-any")  # and …-text-to-text: also sees, hears
EMBEDS = ("feature-extraction", "sentence-similarity")
PAINTS = ("text-to-image", "image-to-image")
QUANTISATIONS = ("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0")
IMAGE_MODELS: Mapping[str, str] = {
    "black-forest-labs/flux.1-dev": "flux",
    "stabilityai/stable-diffusion-3-medium": "sd3",
    "stabilityai/stable-diffusion-3.5-medium": "sd3.5",
    "stabilityai/stable-diffusion-xl-base": "sdxl",
}
"""Models that the ComfyUI template knows, by the beginning of their name."""

BACK_ENDS = ("vllm", "llamacpp", "comfyui")
LLAMA_IMAGE = ("ghcr.io/ggml-org/llama.cpp", "full-cuda")
"""Has Python 3.12 and /app/llama-server (tests/evidence/huggingface/README.md)."""

LLAMA_SETUP = (
    "python3 -m ensurepip --version >/dev/null 2>&1 || "
    "{ apt-get update -q && apt-get install -qy python3-venv; }"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What will serve a model. Memory in GB, over all GPUs of a machine."""

    back_end: str  # one of BACK_ENDS
    model: str
    template: WorkerTemplate
    env: Mapping[str, str]
    weights_gb: float
    kv_gb: float
    memory_gb: float
    n_gpus: int
    max_tokens: int
    disk_gb: float
    embeds: bool = False  # answers with vectors, not with text
    is_known: bool = True  # the back end was named, or follows from the model's public facts

    @property
    def search(self) -> str:
        """Machines that have this much memory, in Vast's search language."""
        each = math.ceil(self.memory_gb / self.n_gpus)
        return f"gpu_ram>={max(SMALLEST_GPU_GB, each)} num_gpus={self.n_gpus}"

    @property
    def launch_args(self) -> str:
        """What would be launched, for a price before there is a template."""
        return f"--image {self.template.image}:{self.template.tag} --disk {self.disk_gb:g}"

    def sentence(self) -> str:
        """Why it needs what it needs."""
        if not self.weights_gb:
            guess = "" if self.is_known else " (by its name alone; else --back-end)"
            return (
                f"{self.model} with {self.back_end}{guess}: {self.memory_gb:.1f} GB of GPU memory"
            )
        if not self.max_tokens:
            return (
                f"{self.model} with {self.back_end}: {self.weights_gb:.1f} GB of weights x "
                f"{OVERHEAD} = {self.memory_gb:.1f} GB of GPU memory"
            )
        return (
            f"{self.model} with {self.back_end}: {self.weights_gb:.1f} GB of weights x {OVERHEAD} "
            f"+ {self.kv_gb:.1f} GB of KV cache ({self.max_tokens:,} tokens) = "
            f"{self.memory_gb:.1f} GB of GPU memory"
        )


def choose(
    facts: ModelFacts, *, back_end: str = "", memory_gb: float = 0.0, quantisation: str = ""
) -> Choice:
    """What serves a model; `back_end` and `memory_gb` override what its facts say.

    Raises:
        CliError: nothing here serves such a model, or nobody can say how large it is.
    """
    if facts.is_adapter:
        base = f", {facts.base}," if facts.base else ""
        raise CliError(
            f"{facts.name} is an adapter; its base model{base} is not in it",
            code=ExitCode.USAGE,
            fix="merge it into its base and publish that; or serve the base with "
            "MODEL_FLAGS='--enable-lora --lora-modules …' in a template of your own",
        )
    is_known = bool(back_end or facts.files or facts.task)
    back_end = back_end or _back_end(facts)
    if back_end == "comfyui":
        return replace(_image(facts, memory_gb), is_known=is_known)
    file = _gguf_file(facts, quantisation) if back_end == "llamacpp" else ""
    weights_gb = _gguf_gb(facts, file) if file else facts.weights_gb
    if not weights_gb and not memory_gb:
        raise CliError(
            f"nobody says how large {facts.name} is",
            code=ExitCode.USAGE,
            fix="say how much GPU memory it needs: --memory-gb 24",
        )
    n_tokens = min(KV_TOKENS, facts.max_tokens or GUESSED_TOKENS)
    kv_gb = facts.kv_bytes_per_token * KV_TOKENS / 1e9 or KV_SHARE * weights_gb
    needed = memory_gb or weights_gb * OVERHEAD + kv_gb
    n_gpus = _n_gpus(facts, needed, back_end)
    made = _vllm(facts, n_tokens, n_gpus) if back_end == "vllm" else _llama(facts, file, n_tokens)
    template, env = made
    disk_gb = float(max(32, math.ceil(IMAGE_GB + DISK_OVER_WEIGHTS * (weights_gb or needed))))
    return Choice(
        back_end=back_end,
        model=facts.name,
        template=replace(template, disk_gb=disk_gb, extra_filters=_filters(template)),
        env=env,
        weights_gb=weights_gb,
        kv_gb=kv_gb,
        memory_gb=needed,
        n_gpus=n_gpus,
        max_tokens=n_tokens,
        disk_gb=disk_gb,
        embeds=facts.task in EMBEDS and back_end == "vllm",
        is_known=is_known,
    )


def _back_end(facts: ModelFacts) -> str:
    has_tensors = any(name.endswith((".safetensors", ".bin")) for name in facts.files)
    if facts.gguf_files and not has_tensors:
        return "llamacpp"
    if not facts.files and not facts.task:  # nobody was asked: its name is all there is
        return "comfyui" if _known_image(facts) else "llamacpp" if _is_gguf(facts) else "vllm"
    if facts.task in PAINTS:
        return "comfyui"
    is_text = facts.task in (*WRITES, *EMBEDS) or facts.task.endswith("text-to-text")
    if facts.task and not is_text:
        raise CliError(
            f"{facts.name} is for {facts.task}; here are back ends for text and images",
            code=ExitCode.USAGE,
            fix=f"if one of them serves it all the same: --back-end {'|'.join(BACK_ENDS)}",
        )
    return "vllm"


def _known_image(facts: ModelFacts) -> str:
    name = facts.name.lower()
    return next((word for begin, word in IMAGE_MODELS.items() if name.startswith(begin)), "")


def _is_gguf(facts: ModelFacts) -> bool:
    return facts.name.lower().endswith("gguf")


def _vllm(
    facts: ModelFacts, n_tokens: int, n_gpus: int
) -> tuple[WorkerTemplate, Mapping[str, str]]:
    """The template's own command, with its tool parser; what vLLM knows better is left to it."""
    flags = [f"--max-model-len {n_tokens}"] if facts.max_tokens else []
    if n_gpus > 1:
        flags.append(f"--tensor-parallel-size {n_gpus}")
    env = {"MODEL_NAME": facts.name}
    if flags:
        env["MODEL_FLAGS"] = " ".join(flags)
    if facts.task in EMBEDS:
        env["BENCHMARK_ROUTE"] = "/v1/embeddings"
    return load_template("openai"), env


def _llama(facts: ModelFacts, file: str, n_tokens: int) -> tuple[WorkerTemplate, Mapping[str, str]]:
    image, tag = LLAMA_IMAGE
    source = f"--hf-repo {facts.name}" + (f" --hf-file {shlex.quote(file)}" if file else "")
    command = (
        f"/app/llama-server {source} --host 127.0.0.1 --port 18000 --n-gpu-layers 999 "
        f"--ctx-size {n_tokens}"
    )
    template = replace(
        load_template("openai"),
        name="Ballast llama.cpp",
        image=image,
        tag=tag,
        setup=LLAMA_SETUP,
    )
    return template, {"MODEL_NAME": facts.name, "MODEL_COMMAND": command}


def _image(facts: ModelFacts, memory_gb: float) -> Choice:
    template = load_template("comfyui")
    known = _known_image(facts)
    if not known:
        raise CliError(
            f"the ComfyUI template does not know {facts.name}; it knows {', '.join(IMAGE_MODELS)}",
            code=ExitCode.USAGE,
            fix="make a template of your own (docs/templates.md), then `ballast up HASH`",
        )
    needed = memory_gb or facts.weights_gb * OVERHEAD or 24.0
    return Choice(
        back_end="comfyui",
        model=facts.name,
        template=replace(template, extra_filters=_filters(template)),
        env={template.model_variable: known},
        weights_gb=facts.weights_gb,
        kv_gb=0.0,
        memory_gb=min(needed, float(LARGEST_GPU_GB)),
        n_gpus=1,
        max_tokens=0,
        disk_gb=template.disk_gb,
    )


def _n_gpus(facts: ModelFacts, memory_gb: float, back_end: str) -> int:
    """The fewest GPUs of one machine that hold it; vLLM splits the heads evenly."""
    for n in GPU_COUNTS:
        splits = back_end != "vllm" or not facts.n_heads or facts.n_heads % n == 0
        if memory_gb / n <= LARGEST_GPU_GB and splits:
            return n
    raise CliError(
        f"{facts.name} needs {memory_gb:.0f} GB, more than {GPU_COUNTS[-1]} GPUs of "
        f"{LARGEST_GPU_GB} GB hold",
        code=ExitCode.USAGE,
        fix="take a quantised variant of the model",
    )


def _gguf_file(facts: ModelFacts, quantisation: str) -> str:
    """The file of this quantisation, or of the first of QUANTISATIONS that is there."""
    files = [one for one in facts.gguf_files if "mmproj" not in one.lower()]
    for wanted in (quantisation,) if quantisation else QUANTISATIONS:
        for file in files:
            if wanted.lower() in file.lower():
                return file
    if quantisation and files:
        raise CliError(
            f"{facts.name} has no file of {quantisation}",
            code=ExitCode.USAGE,
            fix=f"there are: {', '.join(files[:12])}",
        )
    return files[0] if files else ""


def _gguf_gb(facts: ModelFacts, file: str) -> float:
    """The size of a file, with its other parts (`…-00001-of-00003.gguf`)."""
    stem = file.rsplit("-of-", 1)[0].rsplit("-", 1)[0] if "-of-" in file else ""
    parts: Sequence[str] = [one for one in facts.files if stem and one.startswith(stem)] or [file]
    return sum(facts.files.get(one, 0.0) for one in parts)


def _filters(template: WorkerTemplate) -> Mapping[str, object]:
    """The template's filters without those that the model's own search says."""
    return {k: v for k, v in template.extra_filters.items() if k not in ("gpu_ram", "num_gpus")}
