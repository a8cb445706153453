"""Stopped and started again, real vLLM is ready sooner: what it compiled stayed on the disk."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.models.servers import VllmServer, free_port, make_tiny_llama
from tests.workers.world import world
from workers.openai.server import BACK_END
from workers.pyworker.supervision.caches import with_caches

PYTHON = os.environ.get("VLLM_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="needs VLLM_PYTHON: run `make test-models`")
SHARE = 0.6
"""Of the first start, that the second may take (compiled, not `--enforce-eager`)."""


async def start(folder: Path, model: Path, number: int) -> dict[str, Any]:
    """One start of instance and worker, to ready: the report's phases and perf."""
    port = free_port()
    server = VllmServer(Path(PYTHON).absolute(), model, folder / "unused", port)
    server.log = folder / f"model.{number}.log"
    for name in ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR"):
        del server.env[name]
    server.env = with_caches(server.env, folder)
    quick = replace(BACK_END, benchmark=replace(BACK_END.benchmark, n_rounds=1))
    server.start()
    try:
        async with world(
            folder,
            quick,
            ready_within_s=400,
            MODEL_SERVER_URL=server.url,
            MODEL_LOG=str(server.log),
            MODEL_NAME="tiny",
        ) as it:
            report = dict(it.counters())
    finally:
        await asyncio.to_thread(server.stop)
    report["n_tokens_benchmarked"] = sum("POST /v1/completions" in x for x in server.log_lines())
    return report


async def test_a_second_start_takes_six_tenths_of_the_first_and_measures_nothing_anew(
    tmp_path: Path,
) -> None:
    model = await asyncio.to_thread(make_tiny_llama, Path(PYTHON).absolute(), tmp_path / "tiny")
    first, second = [await start(tmp_path, model, number) for number in (1, 2)]
    told = [{"ready_s": r["loadtime"], **r["load_phases"]} for r in (first, second)]
    print(f"\nfirst {told[0]}\nsecond {told[1]}")
    assert (tmp_path / "cache" / "vllm" / "torch_compile_cache").is_dir()
    assert second["max_perf"] == first["max_perf"]
    assert second["n_tokens_benchmarked"] == 1  # the warm-up alone
    assert second["loadtime"] <= SHARE * first["loadtime"], told
