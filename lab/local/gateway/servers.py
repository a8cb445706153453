"""The servers of the local system: gunicorn for our own applications, moto or MiniStack as AWS.

MiniStack takes load that moto answers too slowly and with growing memory. It pins another botocore
than Ballast, so it lives in an environment of its own (`make ministack`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from lab.local.processes.children import ChildError, Children

GATEWAY_THREADS = 8
MINISTACK_PYTHON = Path(sys.prefix) / "ministack" / "bin" / "python"
_NO_LISTENERS = {"IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0"}  # ports of services not used here


def start_gunicorn(
    children: Children,
    name: str,
    module: str,
    fd: int,
    environment: Mapping[str, str],
    n_processes: int = 1,
) -> None:
    """Serve a module's `create_application()` on an inherited socket."""
    arguments = [
        *("-m", "gunicorn", f"{module}:create_application()"),
        *("--bind", f"fd://{fd}"),
        *("--workers", str(n_processes), "--threads", str(GATEWAY_THREADS)),
        *("--worker-class", "gthread", "--timeout", "0", "--graceful-timeout", "2"),
        *("--keep-alive", "75", "--no-control-socket", "--log-level", "warning"),
    ]
    children.start(name, arguments, environment, fd=fd)


def start_aws(
    children: Children, fd: int, environment: Mapping[str, str], *, has_ministack: bool
) -> None:
    """Serve a local AWS on an inherited socket; its state lives in the process.

    Raises:
        ChildError: MiniStack is wanted and not installed.
    """
    if not has_ministack:
        start_gunicorn(children, "aws", "lab.local.system.aws_server", fd, environment)
        return
    if not MINISTACK_PYTHON.exists():
        raise ChildError("MiniStack is not installed: run `make ministack`")
    arguments = [
        *("-m", "hypercorn", "ministack.app:app", "--bind", f"fd://{fd}"),
        *("--keep-alive", "75", "--log-level", "WARNING"),
    ]
    env = {**environment, **_NO_LISTENERS, "LOG_LEVEL": "WARNING"}
    children.start("aws", arguments, env, fd=fd, python=str(MINISTACK_PYTHON))
