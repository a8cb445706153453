"""A model server's own counters: what runs, what waits, tokens made, how full its cache is. Pure.

Names as the servers print them: tests/evidence/models (vLLM and llama.cpp run here; SGLang and TGI
from their documentation, which names nothing of TGI's that counts what was cached).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

_LINE = re.compile(r"([A-Za-z_:][\w:]*)(\{[^}]*\})?\s+(\S+)")
MAX_TEXT = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineMetrics:
    """What a model server says of itself; None where it says nothing.

    `tokens_made` and the prefix counters are cumulative, in tokens.
    """

    running: float | None = None
    waiting: float | None = None
    tokens_made: float | None = None
    prefix_asked: float | None = None
    prefix_hit: float | None = None

    @property
    def is_full(self) -> bool:
        """Requests wait although some run: as many run as can."""
        return bool(self.running and self.waiting)


ReadMetrics = Callable[[str], EngineMetrics]

NAMES: dict[str, tuple[str, ...]] = {
    "running": (
        "vllm:num_requests_running",
        "llamacpp:requests_processing",
        "sglang:num_running_reqs",
        "tgi_batch_current_size",
    ),
    "waiting": (
        "vllm:num_requests_waiting",
        "llamacpp:requests_deferred",
        "sglang:num_queue_reqs",
        "tgi_queue_size",
    ),
    "tokens_made": (
        "vllm:generation_tokens_total",
        "llamacpp:tokens_predicted_total",
        "sglang:generation_tokens_total",
        "tgi_request_generated_tokens_sum",
    ),
    "prefix_asked": (
        "vllm:prefix_cache_queries_total",
        "llamacpp:prompt_tokens_total",
        "sglang:prompt_tokens_total",
    ),
    "prefix_hit": (
        "vllm:prefix_cache_hits_total",
        "llamacpp:prompt_tokens_cached_total",
        "sglang:cached_tokens_total",
    ),
}
_WITHOUT_HITS = "llamacpp:prompt_tokens_total"
"""llama.cpp counts the tokens that it computed, and the cached ones beside them."""


def read_engine_metrics(text: str) -> EngineMetrics:
    """The counters in a Prometheus page; several engines' are added."""
    values = _values(text[:MAX_TEXT])
    found: dict[str, float] = {}
    for field, names in NAMES.items():
        for name in names:
            if numbers := values.get(name):
                found[field] = math.fsum(numbers)
                break
    if _WITHOUT_HITS in values and "prefix_hit" in found:
        found["prefix_asked"] += found["prefix_hit"]
    return EngineMetrics(**found)


def _values(text: str) -> dict[str, list[float]]:
    """Each name's numbers, one for each set of labels."""
    wanted = {name for names in NAMES.values() for name in names}
    values: dict[str, list[float]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if not match or match[1] not in wanted or _is_repeated(match[2] or ""):
            continue
        try:
            number = float(match[3])
        except ValueError:
            continue
        if math.isfinite(number) and number >= 0:
            values.setdefault(match[1], []).append(number)
    return values


def _is_repeated(labels: str) -> bool:
    """Other ranks of the same engine, and lines by priority, repeat what the first line said."""
    ranks = re.findall(r'\b(?:tp_rank|pp_rank|moe_ep_rank)="(\d+)"', labels)
    by_priority = re.search(r'\bpriority="[^"]', labels)
    return any(rank != "0" for rank in ranks) or by_priority is not None


@dataclass(slots=True)
class LearnedSlots:
    """How many requests an engine works on at once: what runs whenever others wait.

    A stated number counts until one is seen; an engine is never thought smaller than what was seen
    to run at once.
    """

    stated: int = 0
    seen: int = 0

    def take(self, metrics: EngineMetrics) -> None:
        """One reading."""
        running = int(metrics.running or 0)
        if metrics.is_full or (self.seen and running > self.seen):
            self.seen = running if not self.seen else max(self.seen, running)

    @property
    def slots(self) -> int:
        """The best knowledge; 0: none."""
        return self.seen or self.stated
