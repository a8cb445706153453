"""Where a model server keeps what it would else make or fetch anew at each start. Pure.

A stopped instance keeps its disk. What is compiled lies there, and only what the owner or the image
has not said already is set:

* VLLM_CACHE_ROOT: vLLM's compiled graphs (docs.vllm.ai, design/torch_compile).
* TORCHINDUCTOR_CACHE_DIR, TRITON_CACHE_DIR: torch's own, by default below /tmp
  (docs.pytorch.org, "Compile Time Caching in torch.compile").
* HF_HOME: weights of the hub. HF_XET_HIGH_PERFORMANCE: its fast path, which others ignore
  (huggingface.co/docs/huggingface_hub, environment variables).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_FOLDERS = {
    "VLLM_CACHE_ROOT": "vllm",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "HF_HOME": "huggingface",
}
_HUB_FOLDERS = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")
"""Who sets one of these has said where weights are."""


def with_caches(env: Mapping[str, str], state_dir: Path) -> dict[str, str]:
    """The model server's environment, in which each cache has a place on the instance's disk."""
    folders = {name: str(state_dir / "cache" / folder) for name, folder in _FOLDERS.items()}
    if any(env.get(name) for name in _HUB_FOLDERS):
        del folders["HF_HOME"]
    return {"HF_XET_HIGH_PERFORMANCE": "1", **folders, **env}
