"""Measuring perf: the best of a few rounds against the model server, the first run not counted.

The result is kept across restarts beside a fingerprint of what was measured, because a stopped
worker that starts again must serve at once; a cloned disk or another model is measured anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import Path

from workers.pyworker.back_end import BackEnd, JsonObject
from workers.pyworker.model.forwarding import ModelLostError

logger = logging.getLogger(__name__)

MAX_PERF = 1e9
TIMEOUT_S = 600.0

Post = Callable[[str, JsonObject, float], Awaitable[int]]
"""POST (path, body, timeout in seconds) to the model server; the status."""


class BenchmarkError(Exception):
    """No believable result; the message says why."""


async def warm_up(back_end: BackEnd, post: Post, make: Callable[[], JsonObject]) -> None:
    """One request that is not counted: first runs compile, allocate and cache.

    Raises:
        BenchmarkError: the model server did not serve it.
    """
    if not await _run_one(back_end, post, make()):
        raise BenchmarkError("the model server did not serve the benchmark's first request")


async def measure_perf(
    back_end: BackEnd, post: Post, make: Callable[[], JsonObject], now: Callable[[], float]
) -> float:
    """Load per second: the best round's served workload over its wall time.

    Raises:
        BenchmarkError: nothing was served, or the result is not a positive finite number.
    """
    benchmark = back_end.benchmark
    best = 0.0
    for _ in range(benchmark.n_rounds):
        concurrency = 1 if back_end.is_serial else benchmark.concurrency
        payloads = [make() for _ in range(concurrency)]
        started = now()
        served = await asyncio.gather(*(_run_one(back_end, post, p) for p in payloads))
        elapsed_s = now() - started
        perf = sum(served) / elapsed_s if elapsed_s > 0 else 0.0
        logger.info("benchmark round", extra={"perf": perf, "n_served": sum(map(bool, served))})
        best = max(best, perf)
    if not (math.isfinite(best) and 0 < best <= MAX_PERF):
        raise BenchmarkError(f"the benchmark gave {best} load per second")
    return best


async def _run_one(back_end: BackEnd, post: Post, payload: JsonObject) -> float:
    """The workload served, 0 when it failed."""
    route = back_end.route(back_end.benchmark.route)
    body = route.convert(payload) if route.convert else payload
    try:
        status = await post(route.model_path, body, TIMEOUT_S)
    except ModelLostError:
        return 0.0
    return route.workload(payload) if status == 200 else 0.0


def fingerprint(back_end: BackEnd, instance_id: int, model_id: str) -> str:
    """What a stored result is valid for: this instance's GPUs, this model, this benchmark."""
    benchmark = back_end.benchmark
    facts = [back_end.name, instance_id, model_id, benchmark.route, benchmark.n_rounds]
    return hashlib.sha256(json.dumps([*facts, benchmark.concurrency]).encode()).hexdigest()


def stored_perf(path: Path, wanted_fingerprint: str) -> float | None:
    """The result kept in `path` if it is valid and for this fingerprint."""
    try:
        stored = json.loads(path.read_text())
        perf = stored["perf"]
        is_same = stored["fingerprint"] == wanted_fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_number = isinstance(perf, int | float) and not isinstance(perf, bool)
    return float(perf) if is_same and is_number and 0 < perf <= MAX_PERF else None


def store_perf(path: Path, perf: float, its_fingerprint: str) -> None:
    """Keep a result; a half-written file is never seen under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({"perf": perf, "fingerprint": its_fingerprint}))
    draft.replace(path)
