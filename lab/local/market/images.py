"""What a Docker image brings to its container, for the images of Ballast's own templates.

A published template runs here as it would on a rented GPU: its launch script, worker bundle, TLS
and supervisor are real. On one machine stand in for the rest: a folder for `/workspace` and `/app`,
the worker's locked packages, which pip would install, and a small model for the one that is asked
for; ComfyUI's files are there, and empty.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import site
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

from workers.bundle import ROOT
from workers.comfyui.workflow import MODELS

LOCK = ROOT / "workers" / "launch" / "requirements.lock"
MODULE = "lab.local.model.image_programs"
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "vllm/vllm-openai": ("vllm",),
    "ghcr.io/ggml-org/llama.cpp": ("app/llama-server",),
    "ghcr.io/huggingface/text-generation-inference": ("./tgi-entrypoint.sh",),
    "ghcr.io/ai-dock/comfyui": ("opt/ComfyUI/venv/bin/python",),
    "python": (),  # hello_world's model server comes in the bundle
}
"""By image: its model server, below the container's root or in its search path."""

_INSIDE = re.compile(r"(?<![\w./])/(?=(?:workspace|app|opt)/|tgi-entrypoint\.sh)")


def is_known(image: str) -> bool:
    """Whether the image's content is known here; its tag does not matter."""
    return image.partition(":")[0] in PROGRAMS


def install(image: str, disk: Path) -> None:
    """Put the image's programs, and the environment of the workers' lock, on an instance's disk."""
    for program in PROGRAMS[image.partition(":")[0]]:
        _write_program(disk / (program if "/" in program else f"bin/{program}"), program)
    if (disk / "opt/ComfyUI").is_dir():
        _write(disk / "opt/ComfyUI/main.py", "# the program that runs it is what stands in")
        for file in {one for model in MODELS.values() for one in model.files}:
            _write(disk / "opt/ComfyUI/models" / file.folder / file.name, "# nobody reads it")
    # The launch script may want Python packages of the distribution; here they are there.
    _write(disk / "bin" / "apt-get", "exit 0")
    (disk / "workspace").mkdir(parents=True, exist_ok=True)
    make_environment(disk / "workspace")


def environment(env: Mapping[str, str], disk: Path, market_url: str, port: int) -> dict[str, str]:
    """A template's variables inside its container: paths below the disk, and the model's port.

    A network of its own would let every container have the same port.
    """
    inside = {name: _INSIDE.sub(f"{disk}/", value) for name, value in env.items()}
    return {
        "WORKSPACE_DIR": str(disk / "workspace"),
        "TLS_CERT": str(disk / "instance.crt"),
        "TLS_KEY": str(disk / "instance.key"),
        "SIGN_CERT_URL": f"{market_url}/api/v0/sign_cert/",
        "HF_ENDPOINT": market_url,  # nothing here asks Hugging Face
        "WORKER_HOST": "127.0.0.1",
        "MODEL_SERVER_URL": f"http://127.0.0.1:{port}",
        # A CPU needs minutes for what a GPU does in seconds.
        "BENCHMARK_ROUNDS": "1",
        "BENCHMARK_CONCURRENCY": "2",
        **inside,
    }


def make_environment(workspace: Path) -> Path:
    """Put the virtual environment of the workers' lock there, as an image that brings one would.

    Its packages are this interpreter's: nothing is downloaded.
    """
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    folder = workspace / "ballast" / f"venv-{digest}"
    if (folder / ".ready").exists():
        return folder
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    # A path's own .pth files are not followed, so this checkout's packages stay out of reach.
    (packages / "installed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    (folder / ".ready").touch()
    return folder


def _write_program(path: Path, program: str) -> None:
    name = program.rpartition("/")[2]
    _write(path, f'exec {shlex.quote(sys.executable)} -m {MODULE} {name} "$@"')


def _write(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
