"""A model's public facts at Hugging Face, fetched on the owner's machine.

`GET /api/models/ORG/NAME?blobs=true` and `GET /ORG/NAME/resolve/main/config.json`; the fields that
are read, with their public sources: tests/evidence/huggingface/README.md.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import requests

from ballast.bearer import bearer, nobody
from ballast.bounded import ask
from ballast.cli.errors import CliError, ExitCode
from ballast.cli.remote.server import Json

HUB_URL = "https://huggingface.co"  # HF_ENDPOINT replaces it, as in Hugging Face's own tools
TIMEOUT_S = 20.0
BYTES_OF: Mapping[str, float] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I64": 8, "I32": 4,
    "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one value, by the names that safetensors uses."""

WEIGHTS = (".safetensors", ".bin", ".gguf")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
_OTHER_PAGES = ("datasets", "spaces", "collections", "papers", "docs", "blog", "models")
_GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What is publicly known of a model. 0 and "" are: not told.

    `files`: weight files with their size in GB. `is_adapter`: nothing but an adapter (LoRA and its
    like) of `base`, which no model server can load alone. `names`: all files; empty where the Hub
    was not asked.
    """

    name: str
    task: str = ""  # "text-generation", "text-to-image", …
    library: str = ""  # "transformers", "diffusers", "mlx", …
    packing: str = ""  # how the values are quantised: "awq", "gptq", "fp8", "bitsandbytes", …
    is_gated: bool = False
    is_readable: bool = True  # False: with the token that was given the files are refused
    is_adapter: bool = False
    base: str = ""
    names: frozenset[str] = frozenset()
    weights_gb: float = 0.0
    n_parameters: int = 0
    files: Mapping[str, float] = field(default_factory=dict)
    n_layers: int = 0
    n_heads: int = 0
    n_kv_heads: int = 0
    head_dim: int = 0
    max_tokens: int = 0

    @property
    def gguf_files(self) -> Sequence[str]:
        """The quantised files for llama.cpp."""
        return sorted(name for name in self.files if name.endswith(".gguf"))

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of one token over all layers, at 2 bytes each."""
        return 2.0 * 2.0 * self.n_layers * self.n_kv_heads * self.head_dim


def model_name(text: str) -> str:
    """ORG/NAME in what was written: that, or its page's address; "" where there is none.

    "https://huggingface.co/Qwen/Qwen2.5-7B-Instruct/tree/main" is "Qwen/Qwen2.5-7B-Instruct".
    """
    page = _PAGE.match(text)
    if page is None:
        return text if _NAME.fullmatch(text) else ""
    parts = re.split(r"[?#]", text[page.end() :])[0].rstrip("/").split("/")
    name = "/".join(parts[:2])
    is_model = parts[0] not in _OTHER_PAGES and _NAME.fullmatch(name)
    return name if is_model else ""


def fetch_facts(name: str, token: str = "") -> ModelFacts:
    """The facts of a model, under the name that Hugging Face writes it with.

    Raises:
        CliError: there is no such model, or Hugging Face does not answer.
    """
    base = os.environ.get("HF_ENDPOINT", HUB_URL).rstrip("/")
    row = _get(f"{base}/api/models/{name}?blobs=true", name, token)
    if row is None:
        doubt = "; HF_TOKEN, which is set, may be a wrong one" if token else ""
        raise CliError(
            f"Hugging Face knows no model {name!r}, or only for those who may read it{doubt}",
            fix="copy ORG/NAME from the model's page; for a private or gated one set HF_TOKEN",
        )
    # A gated model tells its size to everybody, and its configuration only to who may read it.
    config = _get(f"{base}/{name}/resolve/main/config.json", name, token)
    written = str(row.get("id") or "")  # a name in other letters, or an old one, leads to it too
    facts = parse_facts(written if _NAME.fullmatch(written) else name, row, config or {})
    is_refused = bool(token) and config is None and "config.json" in facts.names
    return replace(facts, is_readable=not is_refused)


def parse_facts(name: str, row: Json, config: Json) -> ModelFacts:
    """The facts in the Hub's two answers; what they do not hold stays unknown."""
    siblings = [one for one in row.get("siblings") or () if isinstance(one, dict)]
    names = frozenset(str(one.get("rfilename", "")) for one in siblings)
    files = {
        str(one["rfilename"]): _number(one.get("size")) / _GB
        for one in siblings
        if str(one.get("rfilename", "")).endswith(WEIGHTS)
    }
    tensors = _mapping(row.get("safetensors"))
    text = _mapping(config.get("text_config")) or config  # of models that also see
    n_heads = _whole(text.get("num_attention_heads"))
    head_dim = _whole(text.get("head_dim"))
    if not head_dim and n_heads:
        head_dim = _whole(text.get("hidden_size")) // n_heads
    base = _mapping(row.get("cardData")).get("base_model")
    # MLX writes its own words into the configuration, and no `quant_method`.
    is_mlx = row.get("library_name") == "mlx" or "bits" in _mapping(config.get("quantization"))
    return ModelFacts(
        name=name,
        task=str(row.get("pipeline_tag") or "") or _untold_task(name, _mapping(row.get("gguf"))),
        library="mlx" if is_mlx else str(row.get("library_name") or ""),
        packing=_packing(config, text),
        is_gated=bool(row.get("gated")),
        is_adapter=_is_adapter(names, files),
        base=str(base[0] if isinstance(base, list) and base else base or ""),
        names=names,
        weights_gb=_weights_gb(files, _mapping(tensors.get("parameters"))),
        n_parameters=_whole(tensors.get("total") or _mapping(row.get("gguf")).get("total")),
        files=files,
        n_layers=_whole(text.get("num_hidden_layers")),
        n_heads=n_heads,
        n_kv_heads=_whole(text.get("num_key_value_heads")) or n_heads,
        head_dim=head_dim,
        max_tokens=_whole(
            text.get("max_position_embeddings") or _mapping(row.get("gguf")).get("context_length")
        ),
    )


def _untold_task(name: str, gguf: Json) -> str:
    """Of a model without a tag, as many in GGUF are: BERT and its like embed or rank."""
    if "bert" not in str(gguf.get("architecture") or "").lower():
        return ""
    return "text-ranking" if "rerank" in name.lower() else "feature-extraction"


def _packing(config: Json, text: Json) -> str:
    """How the values are quantised, as the configuration says; "" is plain, or unknown."""
    for one in (config, text):
        told = _mapping(one.get("quantization_config") or one.get("compression_config"))
        if told:
            return str(told.get("quant_method") or "").lower().replace("_", "-")
    return ""


def _is_adapter(names: frozenset[str], files: Mapping[str, float]) -> bool:
    """Whether there is nothing but an adapter; one that was merged, or lies beside, is another."""
    if "adapter_config.json" not in names:
        return False
    whole = [one for one in files if not one.rpartition("/")[2].startswith("adapter_")]
    return "config.json" not in names or not whole


def _weights_gb(files: Mapping[str, float], counted: Mapping[str, object]) -> float:
    """What is loaded: by the files' sizes, by their values' types, or the less of both.

    A repository may hold its weights twice, and packed values may be counted unpacked.
    """
    tensors = {name: gb for name, gb in files.items() if name.endswith(".safetensors")}
    shards = {name: gb for name, gb in tensors.items() if "consolidated" not in name}
    by_size = sum((shards or tensors).values())
    by_type = sum(BYTES_OF.get(kind, 2.0) * _number(n) for kind, n in counted.items()) / _GB
    if by_size and by_type:
        return min(by_size, by_type)
    others = sum(gb for name, gb in files.items() if name.endswith(".bin"))
    return by_size or by_type or others


def _get(url: str, name: str, token: str) -> Json | None:
    """The answer; None where the thing is not there, or not for us."""
    try:
        answer = ask("GET", url, auth=bearer(token) if token else nobody, timeout=TIMEOUT_S)
    except requests.RequestException as error:
        raise CliError(
            f"Hugging Face does not answer ({type(error).__name__})",
            code=ExitCode.UNREACHABLE,
            fix=f"say what {name} needs: --memory-gb 24, and --back-end if it is not vLLM",
        ) from error
    if answer.status_code in (401, 403, 404):
        return None
    try:
        content = answer.json()
    except ValueError:
        content = None
    if answer.status_code != requests.codes.ok or not isinstance(content, dict):
        raise CliError(
            f"Hugging Face answered HTTP {answer.status_code} for {name}",
            code=ExitCode.UNREACHABLE,
            fix="try again, or say what it needs: --memory-gb 24",
        )
    return content


def _mapping(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if math.isfinite(value) and value > 0 else 0.0


def _whole(value: object) -> int:
    return int(_number(value))
