"""Installs what spans need, where a template asks for them: before the PyWorker's first start."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from workers.pyworker.reporting.tracing import wants_export

logger = logging.getLogger(__name__)

LOCK = Path(__file__).parents[3] / "tracing.lock"
"""In the bundle; a checkout brings the packages itself."""

TIMEOUT_S = 120.0


def is_missing(env: Mapping[str, str], lock: Path = LOCK) -> bool:
    """Whether spans are asked for, and their packages are to be installed first."""
    is_there = importlib.util.find_spec("opentelemetry") is not None
    return wants_export(env) and not is_there and lock.is_file()


async def install_tracing(env: Mapping[str, str], lock: Path = LOCK) -> None:
    """Install the locked packages, checked by hash; without them the worker serves, untraced."""
    if not is_missing(env, lock):
        return
    words = ("-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(lock))
    process = await asyncio.create_subprocess_exec(sys.executable, *words)
    try:
        code = await asyncio.wait_for(process.wait(), TIMEOUT_S)
    except TimeoutError:
        process.kill()
        code = await process.wait()
    if code:
        logger.warning("spans are not exported: their packages were not installed")
