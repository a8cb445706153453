"""Measuring perf: what the model server really makes per second, at as many at once as help it.

An answer counts only if the route's own judge accepts it, and for what was generated. The first
request is not counted. Rounds begin at the benchmark's concurrency, which doubles until two levels
in a row do not make the server clearly faster. The result is kept across restarts beside a
fingerprint of what was measured, because a stopped worker that starts again must serve at once; a
cloned disk or another model is measured anew.
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
MEASURING_S = 240.0
"""No round is begun that would end later than this after the first, at the last one's pace."""
FASTER = 1.1
"""A level helps that is so much faster than the last one that did; others make requests slower."""
IN_VAIN = 2
"""So many levels in a row that do not help end the rise. One may have been slow by chance: a busy
host, a compilation. Real vLLM was measured at 1,228 tokens/s of 2,055 when one was enough."""
VERSION = 3
"""Of how it is measured: a result kept by an older way is measured anew."""


class BenchmarkError(Exception):
    """No believable result; the message says why."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One request: the load really done, or why there is none."""

    work: float = 0.0
    problem: str = ""


@dataclass(slots=True)
class Rise:
    """How many requests at once the next round has: twice as many while that helps. Pure."""

    concurrency: int
    limit: int
    n_rounds: int
    best: float = 0.0  # of the fastest round
    _helped: float = 0.0  # `best` at the last level that helped
    _n_in_vain: int = 0
    _n_done: int = 0  # rounds at this level
    _round_s: float = 0.0

    def note(self, perf: float, elapsed_s: float, n_served: int) -> None:
        """One round is over: load per second, and for how many there was an answer."""
        self.best = max(self.best, perf)
        self._round_s = elapsed_s
        self._n_done += 1
        if n_served * 2 <= self.concurrency:  # one may be lost by chance; more are too many at once
            self.limit = self.concurrency

    def next(self, left_s: float) -> int:
        """As many as the round after it has, if it ends in the time that is left; 0: no more."""
        if self._n_done < self.n_rounds:
            return self.concurrency if self._round_s <= left_s else 0
        if self.best > self._helped * FASTER:
            self._helped, self._n_in_vain = self.best, 0
        else:
            self._n_in_vain += 1
        self._n_done = 0
        is_last = self._n_in_vain == IN_VAIN or self.concurrency * 2 > self.limit
        if is_last or self._round_s * 2 > left_s:
            return 0
        self.concurrency *= 2
        return self.concurrency


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
    start = 1 if back_end.is_serial else benchmark.concurrency
    limit = 1 if back_end.is_serial else max(benchmark.max_concurrency, start)
    rise = Rise(start, limit, benchmark.n_rounds)
    problem, began, concurrency, timeout_s = "", now(), start, TIMEOUT_S
    while concurrency:
        started = now()
        trials = await asyncio.gather(
            *(try_once(back_end, server, make(), timeout_s) for _ in range(concurrency))
        )
        elapsed_s = now() - started
        problem = next((t.problem for t in trials if t.problem), problem)
        perf = sum(t.work for t in trials) / elapsed_s if elapsed_s > 0 else 0.0
        n_served = sum(not t.problem for t in trials)
        logger.info(
            "benchmark round",
            extra={"perf": perf, "n_served": n_served, "concurrency": concurrency},
        )
        rise.note(perf, elapsed_s, n_served)
        timeout_s = began + MEASURING_S - now()
        concurrency = rise.next(timeout_s)
    best = rise.best
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
