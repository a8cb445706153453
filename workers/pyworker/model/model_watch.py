"""Bringing a worker to readiness and keeping it honest: log, health route, benchmark."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from pathlib import Path

from workers.pyworker.back_end import BackEnd
from workers.pyworker.model.benchmark import (
    BenchmarkError,
    fingerprint,
    measure_perf,
    store_perf,
    stored_perf,
    warm_up,
)
from workers.pyworker.model.forwarding import Forwarder
from workers.pyworker.model.model_log import Sign, follow_signs
from workers.pyworker.readiness import Phase, Readiness

logger = logging.getLogger(__name__)

LOADING_POLL_S = 0.5
READY_POLL_S = 10.0
MAX_FAILURES = 3
"""Health checks that fail in a row before a ready model server counts as gone."""
BENCHMARK_RETRY_S = 10.0


class ModelWatch:
    """Watches one model server."""

    def __init__(
        self, back_end: BackEnd, model_id: str, forwarder: Forwarder, readiness: Readiness
    ) -> None:
        self._back_end = back_end
        self._forwarder = forwarder
        self._readiness = readiness
        self._log_says_loaded = asyncio.Event()
        self._rng = random.Random()
        self._model_id = model_id

    async def follow_log(self, path: Path) -> None:
        """Act on the log's signs, for ever."""
        async for sign, marker in follow_signs(path, self._back_end.log_markers):
            logger.info("model log", extra={"sign": sign, "marker": marker})
            if sign is Sign.LOADED:
                self._log_says_loaded.set()
                if self._readiness.phase is Phase.READY:
                    self._readiness.recovered()
            elif sign is Sign.ERROR:
                self._log_says_loaded.clear()
                self._readiness.failed(f"the model server's log says: {marker}")

    async def run(self, store: Path, instance_id: int) -> None:
        """Loading → benchmark → ready, and again whenever the model server was lost; for ever."""
        its_fingerprint = fingerprint(self._back_end, instance_id, self._model_id)
        while True:
            await self._until_loaded()
            self._readiness.model_loaded()
            try:
                perf = await self._perf(store, its_fingerprint)
            except BenchmarkError as error:
                self._readiness.failed(f"benchmark failed: {error}")
                await asyncio.sleep(BENCHMARK_RETRY_S)
                continue
            self._readiness.benchmarked(perf, time.time())
            logger.info("ready", extra={"perf": perf})
            await self._until_lost()
            self._log_says_loaded.clear()
            self._readiness.model_gone("the model server's health check fails")

    async def _until_loaded(self) -> None:
        """The health route decides where there is one: an old log may tell of an earlier start."""
        if self._back_end.health_path is None:
            await self._log_says_loaded.wait()
            return
        while True:
            if await self._forwarder.health(self._back_end.health_path):
                return
            await asyncio.sleep(LOADING_POLL_S)

    async def _perf(self, store: Path, its_fingerprint: str) -> float:
        """The stored result after a short warm-up, else a fresh one, which is stored."""
        benchmark, post = self._back_end.benchmark, self._forwarder.post
        make = partial(benchmark.make_payload, self._rng, self._model_id)
        kept = stored_perf(store, its_fingerprint)
        if kept is not None:
            make_short = benchmark.make_short or benchmark.make_payload
            await warm_up(self._back_end, post, partial(make_short, self._rng, self._model_id))
            return kept
        await warm_up(self._back_end, post, make)
        perf = await measure_perf(self._back_end, post, make, asyncio.get_running_loop().time)
        store_perf(store, perf, its_fingerprint)
        return perf

    async def _until_lost(self) -> None:
        """Returns once the health route failed several times in a row; for ever without one."""
        if self._back_end.health_path is None:
            await asyncio.Event().wait()
            return
        n_failures = 0
        while n_failures < MAX_FAILURES:
            await asyncio.sleep(READY_POLL_S if n_failures == 0 else 1.0)
            if await self._forwarder.health(self._back_end.health_path):
                n_failures = 0
                self._readiness.recovered()
            else:
                n_failures += 1
