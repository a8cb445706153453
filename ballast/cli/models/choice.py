"""Which back end serves a model, how much GPU memory it needs, and which machines have it. Pure.

Memory = weights x 1.2 (what the model server itself takes) + a KV cache of KV_TOKENS tokens.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ballast.cli.errors import CliError, ExitCode
from ballast.cli.models.hub import ModelFacts
from ballast.cli.models.refusals import refuse_what_cannot_load, refuse_what_is_no_model
from ballast.templates import WorkerTemplate, load_template
from chalicelib.core.words import count

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
QUANTISATIONS = (
    *("Q4_K_M", "Q4_K_S", "Q5_K_M", "Q8_0", "Q6_K"),
    *("Q4_0", "MXFP4", "IQ4_XS", "F16", "BF16"),
)
"""The one that is taken where none is named: the first of these that is there."""

IMAGE_MODELS: Mapping[str, str] = {
    "black-forest-labs/flux.1-dev": "flux",
    "stabilityai/stable-diffusion-3-medium": "sd3",
    "stabilityai/stable-diffusion-3.5-medium": "sd3.5",
    "stabilityai/stable-diffusion-xl-base": "sdxl",
}
"""Models that the ComfyUI template knows, by the beginning of their name."""

BACK_ENDS = ("vllm", "llamacpp", "tgi", "comfyui")
LLAMA_IMAGE = ("ghcr.io/ggml-org/llama.cpp", "full-cuda")
"""Has Python 3.12 and /app/llama-server (tests/evidence/huggingface/README.md)."""

LLAMA_SETUP = (
    "python3 -m ensurepip --version >/dev/null 2>&1 || "
    "{ apt-get update -q && apt-get install -qy python3-venv; }"
)


_PART = re.compile(r"-(\d+)-of-\d+\.gguf$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What will serve a model. Memory in GB, over all GPUs of a machine."""

    back_end: str  # one of BACK_ENDS
    model: str
    file: str = ""  # of a GGUF repository
    template: WorkerTemplate
    env: Mapping[str, str]
    weights_gb: float
    kv_gb: float
    memory_gb: float
    n_gpus: int
    kv_tokens: int = 0  # that the cache has room for; 0: the model does not tell its layers
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
        guess = "" if self.is_known else " (by its name alone; else --back-end)"
        what = f"{self.model}{f' ({self.file})' if self.file else ''} with {self.back_end}{guess}"
        total = f"{self.memory_gb:.1f} GB of GPU memory"
        if not self.weights_gb:
            return f"{what}: {total}"
        weights = f"{self.weights_gb:.1f} GB of weights x {OVERHEAD}"
        if not self.kv_gb:
            return f"{what}: {weights} = {total}"
        of = f"{self.kv_tokens:,} tokens" if self.kv_tokens else "a quarter of the weights"
        return f"{what}: {weights} + {self.kv_gb:.1f} GB of KV cache ({of}) = {total}"


def choose(
    facts: ModelFacts, *, back_end: str = "", memory_gb: float = 0.0, quantisation: str = ""
) -> Choice:
    """What serves a model; `back_end` and `memory_gb` override what its facts say.

    Raises:
        CliError: nothing here serves such a model, or nobody can say how large it is.
    """
    is_known = bool(back_end or facts.files or facts.task)
    refuse_what_is_no_model(facts)
    back_end = back_end or _back_end(facts, quantisation)
    if back_end == "comfyui":
        return replace(_image(facts, memory_gb), is_known=is_known)
    refuse_what_cannot_load(facts, back_end, quantisation)
    file = _gguf_file(facts, quantisation) if back_end == "llamacpp" else ""
    weights_gb = _gguf_gb(facts, file) if file else facts.weights_gb
    if not weights_gb and not memory_gb:
        raise CliError(
            f"nobody says how large {facts.name} is",
            code=ExitCode.USAGE,
            fix="say how much GPU memory it needs: --memory-gb 24",
        )
    embeds = facts.task in EMBEDS
    # What embeds takes each text whole, as long as the model reads.
    kv_tokens = max(KV_TOKENS, facts.max_tokens) if embeds else KV_TOKENS
    kv_gb = facts.kv_bytes_per_token * kv_tokens / 1e9 or KV_SHARE * weights_gb
    needed = memory_gb or weights_gb * OVERHEAD + kv_gb
    n_gpus = _n_gpus(facts, needed, back_end)
    if back_end == "vllm":
        template, env = _vllm(facts, n_gpus)
    elif back_end == "tgi":  # which takes all GPUs and the length that fits by itself
        template, env = load_template("tgi"), {"MODEL_ID": facts.name}
    else:
        template, env = _llama(facts, file or quantisation)
    disk_gb = float(max(32, math.ceil(IMAGE_GB + DISK_OVER_WEIGHTS * (weights_gb or needed))))
    return Choice(
        back_end=back_end,
        model=facts.name,
        file=file,
        template=replace(template, disk_gb=disk_gb, extra_filters=_filters(template)),
        env=env,
        weights_gb=weights_gb,
        kv_gb=kv_gb,
        memory_gb=needed,
        n_gpus=n_gpus,
        kv_tokens=kv_tokens if facts.kv_bytes_per_token else 0,
        disk_gb=disk_gb,
        embeds=embeds,
        is_known=is_known,
    )


def _back_end(facts: ModelFacts, quantisation: str) -> str:
    if not facts.names and not facts.files and not facts.task:  # nobody was asked: only its name
        if _known_image(facts):
            return "comfyui"
        return "llamacpp" if quantisation or _is_gguf(facts) else "vllm"
    if facts.task in PAINTS or (not facts.task and facts.library == "diffusers"):
        return "comfyui"
    is_text = facts.task in (*WRITES, *EMBEDS) or facts.task.endswith("text-to-text")
    if facts.task and not is_text:
        raise CliError(
            f"{facts.name} is for {facts.task}; here are back ends for text, embeddings and images",
            code=ExitCode.USAGE,
            fix="take a model of these; if this one writes text all the same: --back-end vllm",
        )
    has_tensors = any(name.endswith((".safetensors", ".bin")) for name in facts.files)
    return "llamacpp" if facts.gguf_files and (quantisation or not has_tensors) else "vllm"


def _known_image(facts: ModelFacts) -> str:
    name = facts.name.lower()
    return next((word for begin, word in IMAGE_MODELS.items() if name.startswith(begin)), "")


def _is_gguf(facts: ModelFacts) -> bool:
    return facts.name.lower().endswith("gguf")


def _vllm(facts: ModelFacts, n_gpus: int) -> tuple[WorkerTemplate, dict[str, str]]:
    """The template's own command, with its tool parser; what vLLM knows better is left to it.

    A length above what vLLM derives itself ends it, and it reads more than `config.json`: what
    embeds may take fewer tokens than its positions (tests/evidence/huggingface/README.md).
    """
    embeds = facts.task in EMBEDS
    is_long = facts.max_tokens > KV_TOKENS and not embeds
    flags = [f"--max-model-len {KV_TOKENS}"] if is_long else []
    if embeds:
        flags.append("--runner pooling")
    if n_gpus > 1:
        flags.append(f"--tensor-parallel-size {n_gpus}")
    env = {"MODEL_NAME": facts.name}
    if flags:
        env["MODEL_FLAGS"] = " ".join(flags)
    return load_template("openai"), {**env, **_measured(facts)}


def _measured(facts: ModelFacts) -> Mapping[str, str]:
    return {"BENCHMARK_ROUTE": "/v1/embeddings"} if facts.task in EMBEDS else {}


def _llama(facts: ModelFacts, file: str) -> tuple[WorkerTemplate, dict[str, str]]:
    """`file` is a name in the repository, or a quantisation alone, which llama.cpp finds there."""
    n_tokens = min(KV_TOKENS, facts.max_tokens or GUESSED_TOKENS)
    image, tag = LLAMA_IMAGE
    if file.endswith(".gguf"):
        source = f"--hf-repo {facts.name} --hf-file {shlex.quote(file)}"
    else:
        source = f"--hf-repo {shlex.quote(f'{facts.name}:{file}' if file else facts.name)}"
    command = (
        f"/app/llama-server {source} --host 127.0.0.1 --port 18000 --n-gpu-layers 999 "
        f"--ctx-size {n_tokens}{' --embeddings' if facts.task in EMBEDS else ''}"
    )
    template = replace(
        load_template("openai"),
        name="Ballast llama.cpp",
        image=image,
        tag=tag,
        setup=LLAMA_SETUP,
    )
    return template, {"MODEL_NAME": facts.name, "MODEL_COMMAND": command, **_measured(facts)}


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
        disk_gb=template.disk_gb,
    )


def _n_gpus(facts: ModelFacts, memory_gb: float, back_end: str) -> int:
    """The fewest GPUs of one machine that hold it; vLLM splits the heads evenly."""
    enough = [n for n in GPU_COUNTS if memory_gb / n <= LARGEST_GPU_GB]
    for n in enough:
        if back_end != "vllm" or not facts.n_heads or facts.n_heads % n == 0:
            return n
    if enough:
        raise CliError(
            f"{facts.name} needs {memory_gb:.0f} GB, and {count(facts.n_heads, 'head')} cannot be "
            f"split over {' or '.join(map(str, enough))} GPUs",
            code=ExitCode.USAGE,
            fix="take a quantised variant of the model, or one in GGUF",
        )
    raise CliError(
        f"{facts.name} needs {memory_gb:.0f} GB, more than {GPU_COUNTS[-1]} GPUs of "
        f"{LARGEST_GPU_GB} GB hold",
        code=ExitCode.USAGE,
        fix="take a quantised or a smaller variant of the model",
    )


def _gguf_file(facts: ModelFacts, quantisation: str) -> str:
    """The file of this quantisation, or of the first of QUANTISATIONS that is there; or the least.

    Of a model in parts it is the first, which llama.cpp is given.
    """
    files = [one for one in facts.gguf_files if not _is_beside(one) and _part(one) == 1]
    for wanted in (quantisation,) if quantisation else QUANTISATIONS:
        exact = re.compile(rf"(?<![a-z0-9]){re.escape(wanted)}(?![a-z0-9_])", re.IGNORECASE)
        for file in files:
            if exact.search(file):
                return file
    if quantisation and files:
        raise CliError(
            f"{facts.name} has no file of {quantisation}",
            code=ExitCode.USAGE,
            fix=f"there are: {', '.join(files[:12])}",
        )
    return min(files, key=lambda file: _gguf_gb(facts, file), default="")


def _part(file: str) -> int:
    found = _PART.search(file)
    return int(found[1]) if found else 1


def _is_beside(file: str) -> bool:
    """Whether a GGUF file is no model: what sees for one, or what it was quantised with."""
    name = file.rpartition("/")[2].lower()
    return "mmproj" in name or "imatrix" in name


def _gguf_gb(facts: ModelFacts, file: str) -> float:
    """The size of a file, with its other parts (`…-00001-of-00003.gguf`)."""
    stem = _PART.sub("", file)
    parts: Sequence[str] = [one for one in facts.files if _PART.sub("", one) == stem]
    return sum(facts.files.get(one, 0.0) for one in parts)


def _filters(template: WorkerTemplate) -> Mapping[str, object]:
    """The template's filters without those that the model's own search says."""
    return {k: v for k, v in template.extra_filters.items() if k not in ("gpu_ram", "num_gpus")}
