"""A worker that remembers blocks.

A worker does `PERF` load a second, whatever it does. It reads one prompt at a time, as far as its
cache lacks it, and writes no answers meanwhile; else it writes all answers at once, with its speed
shared among them. So it serves `n_slots` requests at a time; more wait in their order. Its cache
drops the block that was used longest ago, a prompt's last blocks before its first ones. So do model
servers without chunked prefill.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ballast.simulator.routed.caches.prompts import BLOCK_TOKENS, PROMPT_LOAD, Prompt
from chalicelib.core.model.warmth import CacheUse

PREFILL_TOKENS_PER_S = 8_000.0
PERF = PREFILL_TOKENS_PER_S * PROMPT_LOAD
"""Load per second of a worker: 400, so that a prompt costs the time that reading it takes."""

N_SLOTS = 16
"""A stated constant: between llama.cpp's few and the 256 sequences that vLLM takes by default."""


class BlockCache:
    """Remembers so many blocks, those used last."""

    def __init__(self, n_blocks: int) -> None:
        self._n_blocks = n_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def hits(self, blocks: Sequence[int]) -> int:
        """How many of a prompt's first blocks are there."""
        n = 0
        for block in blocks:
            if block not in self._blocks:
                break
            n += 1
        return n

    def use(self, blocks: Sequence[int]) -> int:
        """As `hits`; now they are all there, as far as they fit."""
        n_hits = self.hits(blocks)
        known = self._blocks
        for block in reversed(blocks[: self._n_blocks]):
            known[block] = None
            known.move_to_end(block)
        while len(known) > self._n_blocks:
            known.popitem(last=False)
        return n_hits


@dataclass(slots=True, eq=False)
class Job:
    """A request at a worker."""

    request: int
    prompt: Prompt
    n_hits: int = 0
    started_at: float = 0.0
    first_token_at: float = 0.0


@dataclass(slots=True, eq=False)
class CachingWorker:
    """A worker as it is, not as a router knows it."""

    number: int
    cache: BlockCache
    created_at: float = 0.0
    perf: float = PERF
    usd_per_hour: float = 0.5
    n_slots: int = N_SLOTS
    in_flight: dict[int, Job] = field(default_factory=dict)
    epoch: int = 0  # counts what happened, so that outdated events are known
    busy_s: float = 0.0
    _waiting: deque[Job] = field(default_factory=deque)  # for a slot, then to be read
    _reading: Job | None = None
    _writing: list[tuple[float, int, Job]] = field(default_factory=list)  # heap by end, in tokens
    _written: float = 0.0  # tokens of each answer since ever
    _settled_at: float = 0.0
    _read: tuple[float, float, float] = (0.0, 0.0, 0.0)  # tokens of prompts, those cached, load

    @property
    def cache_use(self) -> CacheUse:
        """What a worker's report tells of its cache."""
        tokens, cached, load = self._read
        if not load:
            return CacheUse(0.0, 0.0, 0.0)
        return CacheUse(tokens, cached / tokens, min(1.0, cached * PROMPT_LOAD / load))

    def take(self, job: Job, now: float) -> None:
        """One more request."""
        self._settle(now)
        self.in_flight[job.request] = job
        self._waiting.append(job)
        self._read_next(now)
        self.epoch += 1

    def next_event_at(self) -> float | None:
        """When something happens here, if nothing comes in before."""
        if self._reading is not None:
            return self._reading.first_token_at
        if self._writing:
            left = max(0.0, self._writing[0][0] - self._written)
            return self._settled_at + left * len(self._writing) / self.perf
        return None

    def proceed(self, now: float) -> list[Job]:
        """Go on to now; the requests that are done with it."""
        self._settle(now)
        done = []
        if self._reading is not None and self._reading.first_token_at <= now:
            job, self._reading = self._reading, None
            end = self._written + job.prompt.output_tokens
            heapq.heappush(self._writing, (end, job.request, job))
        elif self._reading is None and self._writing:
            end, _, job = heapq.heappop(self._writing)
            self._written = max(self._written, end)
            del self.in_flight[job.request]
            done.append(job)
        self._read_next(now)
        self.epoch += 1
        return done

    def first_token_s(self, prompt: Prompt | None, now: float, most_s: float = math.inf) -> float:
        """Until the first token of a request given to it now, if nothing else came after.

        Without a prompt, until it would be begun. Beyond `most_s` it is not worked out: some later
        time than that is told.
        """
        at = now
        reading = self._reading
        writing = sorted(end - self._written for end, _, _ in self._writing)
        if reading is None:  # what was written since the last event
            done = (now - self._settled_at) * self.perf / max(len(writing), 1)
            writing = [left - done for left in writing]
        else:
            at = reading.first_token_at
            writing = sorted([*writing, float(reading.prompt.output_tokens)])
        for job in self._waiting:
            at, writing = self._until_slot(at, writing)
            hits = self.cache.hits(job.prompt.blocks)
            at += self._read_s(job.prompt, hits)
            if at - now > most_s:
                return at - now
            writing = sorted([*writing, float(job.prompt.output_tokens)])
        at, _ = self._until_slot(at, writing)
        if prompt is not None:
            at += self._read_s(prompt, self.cache.hits(prompt.blocks))
        return at - now

    def _until_slot(self, at: float, writing: list[float]) -> tuple[float, list[float]]:
        while len(writing) >= self.n_slots:
            first = max(0.0, writing[0])
            at += first * len(writing) / self.perf
            writing = [left - first for left in writing[1:]]
        return at, writing

    @staticmethod
    def _read_s(prompt: Prompt, n_hits: int) -> float:
        return max(1, prompt.prompt_tokens - n_hits * BLOCK_TOKENS) / PREFILL_TOKENS_PER_S

    def _read_next(self, now: float) -> None:
        if self._reading is None and self._waiting and len(self._writing) < self.n_slots:
            job = self._reading = self._waiting.popleft()
            job.started_at = now
            job.n_hits = self.cache.use(job.prompt.blocks)
            job.first_token_at = now + self._read_s(job.prompt, job.n_hits)
            tokens, cached, load = self._read
            found = min(job.n_hits * BLOCK_TOKENS, job.prompt.prompt_tokens)
            self._read = (
                tokens + job.prompt.prompt_tokens,
                cached + found,
                load + job.prompt.load,
            )

    def _settle(self, now: float) -> None:
        spent_s = now - self._settled_at
        if self._reading is None and self._writing:
            self._written += spent_s * self.perf / len(self._writing)
        if self._reading is not None or self._writing:
            self.busy_s += spent_s
        self._settled_at = now


def soonest(workers: Sequence[CachingWorker], prompt: Prompt | None, now: float) -> CachingWorker:
    """The worker that would give the first token soonest, the first one of equals."""
    best, best_s = workers[0], math.inf
    for worker in workers:
        first_token_s = worker.first_token_s(prompt, now, best_s)
        if first_token_s < best_s:
            best, best_s = worker, first_token_s
    return best
