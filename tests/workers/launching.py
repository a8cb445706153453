"""What a rented instance runs: the launch script as its template holds it, on a disk of its own."""

from __future__ import annotations

import hashlib
import site
import sys
import venv
from pathlib import Path

from workers.bundle import ROOT

LOCK = ROOT / "workers" / "launch" / "requirements.lock"


def make_environment(workspace: Path) -> Path:
    """Put the virtual environment of our lock there, as an image that brings one would.

    Its packages are this interpreter's: nothing is downloaded.
    """
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    folder = workspace / "ballast" / f"venv-{digest}"
    venv.create(folder, with_pip=False, symlinks=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    # A path's own .pth files are not followed, so this checkout's packages stay out of reach.
    (packages / "installed.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    (folder / ".ready").touch()
    return folder
