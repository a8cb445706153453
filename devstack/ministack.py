"""MiniStack as the local AWS: for load, which moto answers too slowly and with growing memory.

It pins another botocore than Ballast, so it lives in an environment of its own (`make ministack`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from devstack.children import ChildError, Children

PYTHON = Path(sys.prefix) / "ministack" / "bin" / "python"
_NO_LISTENERS = {"IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}  # ports of services not used here


def is_installed() -> bool:
    """Whether `make ministack` was run."""
    return PYTHON.exists()


def start_ministack(children: Children, fd: int, environment: Mapping[str, str]) -> None:
    """Serve all its services on an inherited socket; state lives in the process.

    Raises:
        ChildError: it is not installed.
    """
    if not is_installed():
        raise ChildError("MiniStack is not installed: run `make ministack`")
    arguments = [
        *("-m", "hypercorn", "ministack.app:app", "--bind", f"fd://{fd}"),
        *("--keep-alive", "75", "--log-level", "WARNING"),
    ]
    env = {**environment, **_NO_LISTENERS, "LOG_LEVEL": "WARNING"}
    children.start("aws", arguments, env, fd=fd, python=str(PYTHON))
