"""Measuring perf: what the model server really makes per second, at as many at once as help it.

An answer counts only if the route's own judge accepts it, and for what was generated. The first
request is not counted. Rounds begin at the benchmark's concurrency, which doubles as long as that
makes the server clearly faster. The result is kept across restarts beside a fingerprint of what was
measured, because a stopped worker that starts again must serve at once; a cloned disk or another
model is measured anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workers.pyworker.back_end import BackEnd, JsonObject, ModelAnswerError, Route
from workers.pyworker.model.asking import ModelLostError, WholeAnswer
from workers.pyworker.model.forwarding import Forwarder
from workers.pyworker.model.jobs import JobFailedError

logger = logging.getLogger(__name__)

MAX_PERF = 1e9
TIMEOUT_S = 600.0
FASTER = 1.1
"""A doubling that gives less than this was the last: requests would only get slower."""
VERSION = 2
"""Of how it is measured: a result kept by an older way is measured anew."""


class BenchmarkError(Exception):
    """No believable result; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One request: the load really done, or why there is none."""

    work: float = 0.0
    problem: str = ""


async def warm_up(back_end: BackEnd, server: Forwarder, make: Callable[[], JsonObject]) -> None:
    """One request that is not counted: first runs compile, allocate and cache.

    Raises:
        BenchmarkError: the model server did not serve it; the message has its words.
    """
    trial = await try_once(back_end, server, make(), TIMEOUT_S)
    if trial.problem:
        raise BenchmarkError(f"the first request was not served: {trial.problem}")


async def measure_perf(
    back_end: BackEnd, server: Forwarder, make: Callable[[], JsonObject], now: Callable[[], float]
) -> float:
    """Load per second: the best round's work over its wall time.

    Raises:
        BenchmarkError: nothing was served, or the result is not a positive finite number.
    """
    benchmark = back_end.benchmark
    concurrency = 1 if back_end.is_serial else benchmark.concurrency
    limit = 1 if back_end.is_serial else max(benchmark.max_concurrency, concurrency)
    best, problem = 0.0, ""
    while True:
        level = 0.0
        for _ in range(benchmark.n_rounds):
            started = now()
            trials = await asyncio.gather(
                *(try_once(back_end, server, make(), TIMEOUT_S) for _ in range(concurrency))
            )
            elapsed_s = now() - started
            problem = next((t.problem for t in trials if t.problem), problem)
            perf = sum(t.work for t in trials) / elapsed_s if elapsed_s > 0 else 0.0
            n_served = sum(not t.problem for t in trials)
            logger.info(
                "benchmark round",
                extra={"perf": perf, "n_served": n_served, "concurrency": concurrency},
            )
            level = max(level, perf)
            if n_served < concurrency:  # as many at once as this are too many: some were refused
                limit = concurrency
        is_faster = level > best * FASTER
        best = max(best, level)
        if not is_faster or concurrency * 2 > limit:
            break
        concurrency *= 2
    if not (math.isfinite(best) and 0 < best <= MAX_PERF):
        raise BenchmarkError(f"{best} load per second ({problem or 'nothing was made'})")
    return best


async def try_once(
    back_end: BackEnd, server: Forwarder, payload: JsonObject, timeout_s: float
) -> Trial:
    """One request of the benchmark; once more on a fresh connection if the first one was lost.

    `timeout_s` is for both: silence is no lost connection, and is not waited for twice.
    """
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout_s
    trial = await _try(back_end, server, payload, timeout_s)
    if trial is None and (left_s := ends_at - loop.time()) > 0:
        trial = await _try(back_end, server, payload, left_s)
    return trial or Trial(problem="the model server did not answer")


async def _try(
    back_end: BackEnd, server: Forwarder, payload: JsonObject, timeout_s: float
) -> Trial | None:
    route = back_end.route(back_end.benchmark.route)
    try:
        if route.job:
            work = await server.run_job(route, payload, timeout_s)
            return Trial(route.workload(payload) if work is None else work)
        body = route.convert(payload) if route.convert else payload
        answer = await server.ask(route.model_path, body, timeout_s)
    except ModelLostError:
        return None
    except JobFailedError as error:
        return Trial(problem=str(error))
    if answer.status != 200:
        return Trial(problem=answer.words)
    return await _judge(route, payload, answer)


async def _judge(route: Route, payload: JsonObject, answer: WholeAnswer) -> Trial:
    """What an answer of 200 is worth by the route's own judge."""
    if route.respond:
        try:
            await asyncio.to_thread(route.respond, answer.body)
        except ModelAnswerError as error:
            return Trial(problem=str(error))
    if route.read is None:
        return Trial(route.workload(payload))
    reader = route.read(answer.headers)
    reader.feed(answer.body)
    done = reader.done()
    if done.error or not done.work:
        return Trial(problem=done.error or "its answer does not say how much was made")
    return Trial(done.work)


def fingerprint(back_end: BackEnd, instance_id: int, model_id: str) -> str:
    """What a stored result is valid for: this instance's GPUs, this model, this benchmark."""
    benchmark = back_end.benchmark
    facts = [VERSION, back_end.name, instance_id, model_id, benchmark.route, benchmark.n_rounds]
    facts += [benchmark.concurrency, benchmark.max_concurrency]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


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
    """Keep a result; a half-written file is never seen under its name.

    Keeping it is a convenience: a full or read-only disk is told in the log and changes nothing.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps({"perf": perf, "fingerprint": its_fingerprint}))
        draft.replace(path)
    except OSError as error:
        logger.warning("the benchmark's result is not kept", extra={"reason": error.strerror})
