"""Measuring a server that answers prompts: latency, first chunk, throughput, processor, memory."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
import psutil

N_ROUNDS = 8
CONCURRENCY = 32
CHUNKS = 20
PROMPT: dict[str, object] = {"inputs": "hello " * 50, "parameters": {"max_new_tokens": 100}}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one target did. `cpu_ms`: processor time a whole answer costs its process."""

    p50_ms: float
    p99_ms: float
    first_chunk_p50_ms: float
    requests_per_s: float
    cpu_ms: float
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Target:
    """A server to call: address, the body of the next request, and its process."""

    url: str
    make_body: Callable[[dict[str, object]], dict[str, object]]
    process: psutil.Process

    def cpu_s(self) -> float:
        """Processor seconds its process has used."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@dataclass(slots=True)
class Samples:
    """One target's measurements, gathered over the rounds. Seconds."""

    latencies: list[float] = field(default_factory=list)
    first_chunks: list[float] = field(default_factory=list)
    at_load: list[float] = field(default_factory=list)  # seconds for each request, 32 at once
    cpu_s: float = 0.0

    async def add_round(self, http: aiohttp.ClientSession, target: Target, n: int) -> None:
        """`n` whole answers, `n` first chunks, and `n` answers with many at once."""
        # Signed before any clock runs: signing is the control plane's work, and while it signs it
        # takes no report either, whose turn then came with the first request that was timed.
        first, bodies = ([target.make_body(PROMPT) for _ in range(k)] for k in (n // 10, n))
        # Not counted: between its turns a worker may have closed its idle connections.
        await _send(http, target, first)
        before = target.cpu_s()
        self.latencies += await _send(http, target, bodies)
        self.cpu_s += target.cpu_s() - before
        self.first_chunks += [await _first_chunk(http, target) for _ in range(n)]
        share = n // CONCURRENCY + 1
        shares = [[target.make_body(PROMPT) for _ in range(share)] for _ in range(CONCURRENCY)]
        started = time.perf_counter()
        await asyncio.gather(*(_send(http, target, some) for some in shares))
        self.at_load.append((time.perf_counter() - started) / (share * CONCURRENCY))

    def figures(self, target: Target) -> Figures:
        """The summary."""
        return Figures(
            p50_ms=1e3 * statistics.median(self.latencies),
            p99_ms=1e3 * statistics.quantiles(self.latencies, n=100)[98],
            first_chunk_p50_ms=1e3 * statistics.median(self.first_chunks),
            requests_per_s=1 / statistics.median(self.at_load),
            cpu_ms=1e3 * self.cpu_s / len(self.latencies),
            memory_mb=target.process.memory_info().rss / 2**20,
        )


async def measure(
    http: aiohttp.ClientSession, targets: dict[str, Target], n: int
) -> dict[str, Figures]:
    """Figures over `n` requests of each kind; targets take turns and so see the same machine."""
    samples = {name: Samples() for name in targets}
    for _ in range(N_ROUNDS):
        for name, target in targets.items():
            await samples[name].add_round(http, target, n // N_ROUNDS)
    return {name: samples[name].figures(target) for name, target in targets.items()}


async def _send(
    http: aiohttp.ClientSession, target: Target, bodies: list[dict[str, object]]
) -> list[float]:
    latencies = []
    for body in bodies:
        started = time.perf_counter()
        async with http.post(target.url + "/generate", json=body) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{target.url} answered {answer.status}")
        latencies.append(time.perf_counter() - started)
    return latencies


async def _first_chunk(http: aiohttp.ClientSession, target: Target) -> float:
    body = target.make_body({**PROMPT, "parameters": {"n_chunks": CHUNKS, "chunk_s": 0.001}})
    started = time.perf_counter()
    async with http.post(target.url + "/generate_stream", json=body) as answer:
        await answer.content.readany()
        elapsed_s = time.perf_counter() - started
        await answer.read()
    return elapsed_s
