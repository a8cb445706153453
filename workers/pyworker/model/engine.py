"""What the model server's own counters say of it now: room, slots, whether it makes anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.pyworker.model.answers import PromptRead
from workers.pyworker.model.engine_metrics import EngineMetrics, LearnedSlots
from workers.pyworker.model.life import DEFAULT_PATIENCE


@dataclass(slots=True)
class Engine:
    """The last reading; times are of the event loop."""

    learned: LearnedSlots = field(default_factory=LearnedSlots)
    still_s: float = DEFAULT_PATIENCE.still_s
    metrics: EngineMetrics | None = None
    moved_at: float = 0.0  # when its counters last showed that it works, or that it has no work
    idle_since: float | None = None  # it says that nothing runs and nothing waits; None: not so
    prompts: PromptRead | None = None  # since this process started; None: it does not tell

    def take(self, metrics: EngineMetrics, now: float) -> None:
        """A new reading."""
        before, self.metrics = self.metrics, metrics
        self._count_prompts(before)
        self.learned.take(metrics)
        has_moved = before is None or metrics.tokens_made != before.tokens_made
        if has_moved or not metrics.running or metrics.tokens_made is None:
            self.moved_at = now
        is_idle = metrics.running == 0 and metrics.waiting == 0 and not has_moved
        self.idle_since = (now if self.idle_since is None else self.idle_since) if is_idle else None

    def lives(self, now: float) -> None:
        """It made something, whatever its counters say or do not say in time."""
        self.moved_at = now
        self.idle_since = None if self.idle_since is None else now

    def _count_prompts(self, before: EngineMetrics | None) -> None:
        """What was read and found since the last reading; a restarted engine counts from zero."""
        now = _prompts_of(self.metrics)
        if now is None:
            return
        if self.prompts is None:  # what came before is another's: of an older PyWorker, or ours
            self.prompts = PromptRead(0.0, 0.0)
            return
        base = _prompts_of(before)
        if base is None or now.tokens < base.tokens or now.cached < base.cached:
            base = PromptRead(0.0, 0.0)
        self.prompts = PromptRead(
            self.prompts.tokens + now.tokens - base.tokens,
            self.prompts.cached + now.cached - base.cached,
        )

    @property
    def has_room(self) -> bool:
        """Whether the engine itself says that nothing waits: then no queue is long."""
        return self.metrics is not None and self.metrics.waiting == 0

    @property
    def slots(self) -> int:
        """Requests that it works on at once, as far as known; 0: not known."""
        return self.learned.slots

    def is_dead(self, now: float) -> bool:
        """Whether it has counted no token for so long that what it held was lost by it."""
        return (self.stands_still_s(now) or 0.0) > self.still_s

    def stands_still_s(self, now: float) -> float | None:
        """For how long it has held requests without making a token; None: it does not tell."""
        if self.metrics is None or self.metrics.tokens_made is None:
            return None
        return now - self.moved_at if self.metrics.running else 0.0


def _prompts_of(metrics: EngineMetrics | None) -> PromptRead | None:
    if metrics is None or metrics.prefix_asked is None or metrics.prefix_hit is None:
        return None
    return PromptRead(metrics.prefix_asked, metrics.prefix_hit)
