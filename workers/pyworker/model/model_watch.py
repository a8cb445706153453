"""Bringing a worker to readiness and keeping it honest: log, health route, benchmark, answers.

Ready is proven by a benchmark, and stays so while answers flow. A health route alone proves
neither: a busy server answers it late, a broken engine answers it well.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from workers.pyworker.back_end import BackEnd
from workers.pyworker.model.asking import ModelLostError
from workers.pyworker.model.benchmark import (
    BenchmarkError,
    fingerprint,
    measure_perf,
    store_perf,
    stored_perf,
    try_once,
    warm_up,
)
from workers.pyworker.model.engine import Engine
from workers.pyworker.model.forwarding import Forwarder
from workers.pyworker.model.model_log import LogTail, Sign, cause_in, follow_lines, shown, sign_of
from workers.pyworker.readiness import Phase, Readiness
from workers.pyworker.supervision import trouble
from workers.pyworker.tickets.server_clock import steady_now

logger = logging.getLogger(__name__)

LOADING_POLL_S = 0.5
MAX_FAILURES = 3
"""Health checks that fail in a row before they are a reason to doubt."""
METRICS_ABSENT_S = 60.0
MAX_LINES_KEPT = 400


class ModelWatch:
    """Watches one model server; `tell` gets True when it is ready, False when it is dead."""

    def __init__(
        self,
        back_end: BackEnd,
        model_id: str,
        forwarder: Forwarder,
        readiness: Readiness,
        engine: Engine,
        tell: Callable[[bool], None] = lambda _is_well: None,
    ) -> None:
        self._back_end = back_end
        self._forwarder = forwarder
        self._life = forwarder.life
        self._patience = forwarder.life.patience
        self._readiness = readiness
        self._engine = engine
        self._log_says_loaded = asyncio.Event()
        self._log: LogTail | None = None
        self._has_served = False
        self._rng = random.Random()
        self._model_id = model_id
        self._tell = tell

    async def follow_log(self, path: Path) -> None:
        """Act on the log's signs while the model server loads, for ever.

        Later the log holds what clients wrote; after the line that tells of readiness nothing in it
        is believed, also by a PyWorker that starts in front of an older server; and until the file
        is begun anew no line of it is told to anybody, for a server may die with a prompt on its
        lips.
        """
        lines = deque[str](maxlen=MAX_LINES_KEPT)
        tail = self._log = LogTail(path)
        if self._has_served:
            tail.mark_served()
        async for written in follow_lines(tail):
            if self._readiness.phase is Phase.READY:
                tail.mark_read()
                lines.clear()
                continue
            line = shown(written)
            self._readiness.phases.see(line, self._back_end.log_markers.phases, steady_now())
            if tail.is_private:
                lines.clear()
            else:
                lines.append(line)
            found = sign_of(line, self._back_end.log_markers)
            if found is None:
                continue
            sign, marker = found
            logger.info("model log", extra={"sign": sign, "marker": marker})
            if sign is Sign.LOADED:
                self._log_says_loaded.set()
                tail.mark_read()
            elif sign is Sign.ERROR and not self._log_says_loaded.is_set():
                await self._doubt(marker, cause_in(list(lines)))

    async def _doubt(self, marker: str, cause: str) -> None:
        """A marker is confirmed by asking: a server that answers is not failing."""
        path = self._back_end.health_path
        if path and await self._forwarder.health(path, self._patience.health_timeout_s):
            return
        self._readiness.failed(f"the model server's log says: {cause or marker}")

    async def run(self, store: Path, instance_id: int) -> None:
        """Loading → benchmark → ready, and again whenever the model server was lost; for ever."""
        its_fingerprint = fingerprint(self._back_end, instance_id, self._model_id)
        while True:
            await self._until_loaded(store.parent)
            self._readiness.model_loaded()
            self._readiness.phases.begin("benchmark", steady_now())
            try:
                perf = await self._perf(store, its_fingerprint)
            except BenchmarkError as error:
                self._readiness.failed(f"benchmark failed: {error}")
                await asyncio.sleep(self._patience.benchmark_retry_s)
                continue
            self._life.forget()
            await self._learn_names()
            self._has_served = True
            if self._log is not None:
                self._log.mark_served()
            self._readiness.benchmarked(perf, steady_now())
            logger.info("ready", extra={"perf": perf})
            self._tell(True)
            reason = await self._until_lost()
            self._log_says_loaded.clear()
            self._readiness.model_gone(reason, steady_now())
            n_broken = self._life.break_all()
            logger.warning("model server lost", extra={"reason": reason, "n_broken": n_broken})
            self._tell(False)

    async def _until_loaded(self, state_dir: Path) -> None:
        """The health route decides where there is one: an old log may tell of an earlier start.

        Meanwhile what the supervisor says of its starts is this worker's error too.
        """
        path = self._back_end.health_path
        while True:
            if path is None and self._log_says_loaded.is_set():
                return
            if path is not None and await self._forwarder.health(path):
                return
            if words := await asyncio.to_thread(trouble.noted, state_dir):
                self._readiness.failed(words)
            await asyncio.sleep(LOADING_POLL_S)

    async def _perf(self, store: Path, its_fingerprint: str) -> float:
        """The stored result after a short warm-up, else a fresh one, which is stored."""
        benchmark, server = self._back_end.benchmark, self._forwarder
        make = partial(benchmark.make_payload, self._rng, self._model_id)
        kept = stored_perf(store, its_fingerprint)
        if kept is not None:
            make_short = benchmark.make_short or benchmark.make_payload
            await warm_up(self._back_end, server, partial(make_short, self._rng, self._model_id))
            return kept
        await warm_up(self._back_end, server, make)
        perf = await measure_perf(self._back_end, server, make, asyncio.get_running_loop().time)
        store_perf(store, perf, its_fingerprint)
        return perf

    async def _learn_names(self) -> None:
        """What the model server calls itself and what it serves; none where it has no list."""
        names: tuple[str, ...] = ()
        server = ""
        if self._back_end.models_path is not None:
            with suppress(ModelLostError):  # a list that does not come keeps nobody from serving
                answer = await self._forwarder.ask(
                    self._back_end.models_path, None, self._patience.health_timeout_s
                )
                if answer.status == 200:
                    names, server = answer.model_names, answer.server_name
        self._readiness.models = self._forwarder.served_models = names
        self._forwarder.server_name = server

    async def _until_lost(self) -> str:
        """Returns with the reason once the model server is dead."""
        n_failures, patience, loop = 0, self._patience, asyncio.get_running_loop()
        while True:
            is_doubtful = n_failures > 0 or self._still_s() > patience.still_s / 2
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    patience.doubt_poll_s if is_doubtful else patience.ready_poll_s
                ):
                    await self._life.changed.wait()
            self._life.changed.clear()
            self._life.break_silent(loop.time() - patience.request_silence_s)
            # Once it stands still a request of our own decides; a health route may be slow as well.
            state = "well" if self._still_s() > patience.still_s else await self._look()
            if state == "refused":
                return "the model server refuses connections"
            n_failures = n_failures + 1 if state == "failing" else 0
            is_silent = loop.time() - self._life.sign_at > patience.sign_of_life_s
            if n_failures >= MAX_FAILURES and is_silent:
                if await self._probe(patience.probe_timeout_s):
                    return "the model server's health check fails"
                n_failures = 0  # slow, or wrong about itself: it serves
                self._life.byte(loop.time())
            if problem := await self._problem_of_answers():
                return problem

    def _still_s(self) -> float:
        """For how long it has held requests and counted no token; 0 where it does not count."""
        now = asyncio.get_running_loop().time()
        return max(self._engine.stands_still_s(now) or 0.0, self._forgotten_s(now))

    def _forgotten_s(self, now: float) -> float:
        """For how long its counters have said that it holds nothing, though it holds ours.

        An engine that froze while it was idle, or one that lost a request.
        """
        since = self._engine.idle_since
        return self._life.silent_s(since, now) if since is not None else 0.0

    async def _look(self) -> str:
        """`well`, `failing` or `refused`; without a health route only a refusal can be seen."""
        path = self._back_end.health_path or "/"
        for _ in range(2):
            try:
                answer = await self._forwarder.ask(path, None, self._patience.health_timeout_s)
            except ModelLostError as error:
                if not error.is_refusal:
                    return "failing" if self._back_end.health_path else "well"
                await asyncio.sleep(0.3)
            else:
                is_well = answer.status == 200 or self._back_end.health_path is None
                return "well" if is_well else "failing"
        return "refused"

    async def _problem_of_answers(self) -> str:
        """Why the answers prove it dead; "" while they do not. Settled by a request of our own."""
        now, patience = asyncio.get_running_loop().time(), self._patience
        still_s = self._engine.stands_still_s(now)
        if self._life.is_doubtful:
            problem = await self._probe(self._patience.slow_probe_timeout_s)
            if not problem:
                self._life.forget()
            return problem and f"the model server's answers fail: {problem}"
        is_forgotten = self._forgotten_s(now) > patience.still_s
        if still_s is not None:
            is_silent = is_forgotten or still_s > patience.still_s
            dead_in_s = patience.still_s + patience.probe_timeout_s - self._still_s()
            timeout_s = max(dead_in_s, patience.probe_timeout_s / 2)  # late to ask: shorter waited
        else:
            is_silent = self._life.oldest_wait_s(now) > patience.silent_s
            timeout_s = patience.slow_probe_timeout_s
        if not is_silent or await self._is_at_work():
            return ""
        problem = await self._probe(timeout_s)
        if not problem or self._life.sign_at > now:
            self._life.byte(lives_at := asyncio.get_running_loop().time())
            self._engine.lives(lives_at)
            if is_forgotten and self._life.break_silent(now - patience.forgotten_s):
                logger.warning("a living engine has lost requests")
            return ""
        return "the model server holds requests and makes nothing"

    async def _is_at_work(self) -> bool:
        """Whether the model server itself shows a job under way (ComfyUI's `/queue`)."""
        if self._back_end.queue_path is None:
            return False
        return await self._forwarder.health(
            self._back_end.queue_path, self._patience.health_timeout_s
        )

    async def _probe(self, timeout_s: float) -> str:
        """A short request; why it failed, "" when it did not."""
        benchmark = self._back_end.benchmark
        make = benchmark.make_short or benchmark.make_payload
        payload = make(self._rng, self._model_id)
        return (await try_once(self._back_end, self._forwarder, payload, timeout_s)).problem

    async def follow_metrics(self) -> None:
        """Read the engine's own counters, for ever; seldom where it has none."""
        path, read = self._back_end.metrics_path, self._back_end.read_metrics
        if path is None or read is None:
            return
        loop = asyncio.get_running_loop()
        while True:
            pause_s = self._patience.metrics_poll_s
            if self._readiness.phase is Phase.READY:
                asked_at = loop.time()  # a busy server tells late what it counted by then
                try:
                    answer = await self._forwarder.ask(path, None, self._patience.health_timeout_s)
                except ModelLostError:
                    pass  # no news: a server that is gone is `_until_lost`'s to find
                else:
                    if answer.status == 200:
                        text = answer.body.decode(errors="replace")
                        self._engine.take(read(text), asked_at)
                        self._readiness.slots = self._engine.slots
                        self._readiness.prompts = self._engine.prompts
                    else:
                        pause_s = METRICS_ABSENT_S
            await asyncio.sleep(pause_s)
