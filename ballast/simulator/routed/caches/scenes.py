"""One run: a policy in a scene, and what it scored."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ballast.simulator.routed.caches.prompts import (
    BLOCK_TOKENS,
    PROMPT_LOAD,
    Prompt,
    at_load,
    with_hot_key,
)
from ballast.simulator.routed.caches.rivals import BoundedHashing, Omniscient, Sticky
from ballast.simulator.routed.caches.worker import N_SLOTS, PERF
from ballast.simulator.routed.caches.world import CacheWorld, Discipline
from ballast.simulator.routed.routed import RoutedPolling
from chalicelib.core.routing.admission import AdmissionParams, ClientKind
from chalicelib.core.routing.affinity import CacheBelief, Preference, preferences_of

POLICIES = ("none", "ours", "sticky", "bounded-hash", "omniscient")
UNSTATED = "ours-unstated"
"""Clients that send keys and no lengths: what a warm worker saves is learned from hits alone."""
HOT_SHARE = 0.2
LATE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A fleet, its caches, and what is asked of it."""

    load: float = 0.85  # uncached work, as a share of what the fleet can do
    n_workers: int = 30
    n_blocks: int = 800  # that fit into a worker's cache
    n_slots: int = N_SLOTS  # requests that a worker serves at a time
    is_hot: bool = False  # a fifth of the requests have one conversation key
    is_scaled: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """In a table."""
        marks = " hot" * self.is_hot + " scaled" * self.is_scaled
        return f"{self.n_workers} x {self.n_blocks} at {self.load:g}{marks}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a policy scored; times in seconds."""

    policy: str
    hit_share: float  # of all prompt blocks
    mean_wait_s: float
    p99_wait_s: float
    mean_first_token_s: float
    p99_first_token_s: float
    late_share: float  # had their first token later than LATE_S, or not at all
    n_unserved: int = 0


def play(scene: Scene, prompts: Sequence[Prompt], policy: str) -> Score:
    """One policy on the scene's requests."""
    requests = list(prompts)
    if scene.is_hot:
        requests = with_hot_key(requests, HOT_SHARE, scene.seed)
    requests = at_load(requests, scene.n_workers * PERF, scene.load)
    world = CacheWorld(requests, scene.n_workers, scene.n_blocks, scene.n_slots)
    if scene.is_scaled:
        _schedule(world, scene.n_workers)
    world.run(make_discipline(world, policy, scene.seed))
    return score(world, policy)


def make_discipline(world: CacheWorld, policy: str, seed: int) -> Discipline:
    """A policy by its name."""
    if policy in ("none", "ours", UNSTATED):

        def preferences(request: int, belief: CacheBelief) -> tuple[Preference, ...]:
            if policy == "none":
                return ()
            return asked(world.prompts[request], belief, is_stated=policy == "ours")

        return RoutedPolling(
            world,
            ClientKind.PACED,
            AdmissionParams(),
            random.Random(f"{policy}:{seed}"),
            preferences_of=preferences,
        )
    rivals = {"sticky": Sticky, "bounded-hash": BoundedHashing, "omniscient": Omniscient}
    discipline: Discipline = rivals[policy](world)
    return discipline


def asked(prompt: Prompt, belief: CacheBelief, *, is_stated: bool) -> tuple[Preference, ...]:
    """What a client says of a prompt: the system prompt's key, then the conversation's."""
    keys = (f"system {prompt.blocks[0]}", f"conversation {prompt.conversation}")
    system = min(BLOCK_TOKENS, prompt.prompt_tokens)
    kept = max(system, prompt.kept_tokens)
    lengths = (system * PROMPT_LOAD, kept * PROMPT_LOAD) if is_stated else None
    return preferences_of(keys, lengths, prompt.load, belief)


def score(world: CacheWorld, policy: str) -> Score:
    """What came of it."""
    served = [s for s in world.served if s is not None]
    waits = sorted(s.wait_s for s in served)
    firsts = sorted(s.first_token_s for s in served)
    return Score(
        policy=policy,
        hit_share=sum(s.n_hits for s in served) / sum(s.n_blocks for s in served),
        mean_wait_s=sum(waits) / len(waits),
        p99_wait_s=waits[int(0.99 * len(waits))],
        mean_first_token_s=sum(firsts) / len(firsts),
        p99_first_token_s=firsts[int(0.99 * len(firsts))],
        late_share=1 - sum(s.first_token_s <= LATE_S for s in served) / len(world.served),
        n_unserved=len(world.served) - len(served),
    )


def _schedule(world: CacheWorld, n_workers: int) -> None:
    n_moves = max(2, round(n_workers * 0.2)) // 2 * 2
    step = world.trace.duration_s / (n_moves + 1)
    for i in range(n_moves):
        world.at((i + 1) * step, world.shrink if i < n_moves // 2 else world.grow)
