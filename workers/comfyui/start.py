"""`python -m workers.comfyui.start`: the model's files are there, then ComfyUI in this place.

The supervisor starts it as the model server. A file that is there whole is not fetched again, so
that a stopped worker starts at once. One that drips is given up, so that the supervisor starts
anew and tells of it. COMFYUI_DIR, COMFYUI_PYTHON and COMFYUI_ARGS say where ComfyUI
lies, which Python runs it, and what else it gets.
"""

from __future__ import annotations

import http.client
import os
import shlex
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.comfyui.workflow import MODELS, ModelFile

HUB = "https://huggingface.co"
PYTHONS = ("/opt/environments/python/comfyui/bin/python", "venv/bin/python", ".venv/bin/python")
"""Where images keep ComfyUI's Python; below COMFYUI_DIR if relative."""
PORT = "18188"
WINDOW_S = 60.0
LEAST_BYTES_PER_S = 100_000
"""In each window. Chosen: at 100 kB/s the smallest checkpoint (7 GB) would take a day."""


class StartError(Exception):
    """ComfyUI cannot start; the message names the cause and the fix."""


@dataclass(slots=True)
class _Download:
    """What a thread of its own has done so far; `error` if it has failed."""

    n_bytes: int = 0
    error: Exception | None = None

    def run(self, request: urllib.request.Request, draft: Path) -> None:
        """Write the answer into a file."""
        try:
            with (
                urllib.request.urlopen(request, timeout=WINDOW_S) as answer,  # noqa: S310
                draft.open("wb") as out,
            ):
                while part := answer.read1(1 << 20):
                    self.n_bytes += out.write(part)
                told = answer.headers.get("Content-Length")
            if told is not None and self.n_bytes != int(told):
                self.error = OSError(f"it broke off after {self.n_bytes} of {told} bytes")
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.error = error


def fetch(file: ModelFile, home: Path, hub: str, token: str, window_s: float = WINDOW_S) -> None:
    """Fetch a file that is not there yet; half of one is never seen under its name.

    Raises:
        StartError: it cannot be had, or comes too slowly.
    """
    target = home / "models" / file.folder / file.name
    if target.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    what = f"{file.repository}/{file.path}"
    print(f"Downloading {what}", flush=True)
    request = urllib.request.Request(f"{hub}/{file.repository}/resolve/main/{file.path}")  # noqa: S310
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    draft = target.with_name(target.name + ".part")
    download = _Download()
    # In a thread: a server that drips is within the time-out of each read, whatever is read.
    thread = threading.Thread(target=download.run, args=(request, draft), daemon=True)
    thread.start()
    while thread.is_alive():
        before = download.n_bytes
        thread.join(window_s)
        if (
            thread.is_alive()
            and (n_bytes := download.n_bytes - before) < LEAST_BYTES_PER_S * window_s
        ):
            words = f"it came too slowly, {n_bytes:,} bytes in {window_s:g} s"
            raise StartError(f"{what} was not fetched: {words}")
    if isinstance(download.error, urllib.error.HTTPError):
        code = download.error.code
        hint = "accept its terms and set HF_TOKEN" if code in (401, 403) else "is it published"
        raise StartError(f"{what} was not fetched (HTTP {code}): {hint}?") from download.error
    if download.error:
        raise StartError(f"{what} was not fetched: {download.error}") from download.error
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
