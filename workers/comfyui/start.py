"""`python -m workers.comfyui.start`: the model's files are there, then ComfyUI in this place.

The supervisor starts it as the model server. A file that is there whole is not fetched again, so
that a stopped worker starts at once. COMFYUI_DIR, COMFYUI_PYTHON and COMFYUI_ARGS say where ComfyUI
lies, which Python runs it, and what else it gets.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from workers.comfyui.workflow import MODELS, ModelFile

HUB = "https://huggingface.co"
PYTHONS = ("/opt/environments/python/comfyui/bin/python", "venv/bin/python", ".venv/bin/python")
"""Where images keep ComfyUI's Python; below COMFYUI_DIR if relative."""
PORT = "18188"
TIMEOUT_S = 60.0


class StartError(Exception):
    """ComfyUI cannot start; the message names the cause and the fix."""


def fetch(file: ModelFile, home: Path, hub: str, token: str) -> None:
    """Fetch a file that is not there yet; half of one is never seen under its name.

    Raises:
        StartError: it cannot be had.
    """
    target = home / "models" / file.folder / file.name
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    print(f"Downloading {file.repository}/{file.path}", flush=True)
    request = urllib.request.Request(f"{hub}/{file.repository}/resolve/main/{file.path}")  # noqa: S310
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    draft = target.with_name(target.name + ".part")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, draft.open("wb") as out:  # noqa: S310
            shutil.copyfileobj(answer, out, 1 << 20)
    except urllib.error.HTTPError as error:
        hint = (
            "accept its terms and set HF_TOKEN" if error.code in (401, 403) else "is it published"
        )
        raise StartError(
            f"{file.repository}/{file.path} was not fetched (HTTP {error.code}): {hint}?"
        ) from error
    except OSError as error:
        raise StartError(f"{file.repository}/{file.path} was not fetched: {error}") from error
    draft.replace(target)


def command(home: Path, env: Mapping[str, str]) -> list[str]:
    """ComfyUI's words.

    Raises:
        StartError: there is no ComfyUI, or no Python for it.
    """
    script = home / "main.py"
    if not script.is_file():
        raise StartError(f"there is no ComfyUI in {home}: set COMFYUI_DIR")
    wanted = env.get("COMFYUI_PYTHON", "") or env.get("COMFYUI_VENV_PYTHON", "")  # ai-dock's name
    pythons = [Path(wanted)] if wanted else [home / path for path in PYTHONS]
    python = next((path for path in pythons if path.is_file()), None)
    if python is None and (wanted or not (found := shutil.which("python3"))):
        raise StartError(f"no Python for ComfyUI at {wanted or PYTHONS}: set COMFYUI_PYTHON")
    words = [str(python or found), str(script), "--listen", "127.0.0.1", "--port", PORT]
    return [*words, "--disable-auto-launch", *shlex.split(env.get("COMFYUI_ARGS", ""))]


def main() -> int:
    """Fetch, then become ComfyUI; 1 with the reason in words."""
    env = os.environ
    home = Path(env.get("COMFYUI_DIR", "") or "/opt/ComfyUI")
    model = MODELS.get(env.get("COMFY_MODEL", ""))
    try:
        words = command(home, env)
        for file in model.files if model else ():
            fetch(file, home, env.get("HF_ENDPOINT", "") or HUB, env.get("HF_TOKEN", "").strip())
    except StartError as error:
        print(f"error: {error}", flush=True)
        return 1
    os.chdir(home)
    return os.execv(words[0], words)  # noqa: S606  ComfyUI takes this process's place


if __name__ == "__main__":
    sys.exit(main())
