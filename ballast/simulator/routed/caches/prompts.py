"""Traces of prompts as blocks: equal ids are equal blocks with all before them.

Files have the columns `t_s,prompt_tokens,output_tokens,block_ids` (ids with spaces between), a
block being 512 tokens, as in the traces that Mooncake published (Qin et al., "Mooncake", FAST
2025). `synthetic` makes the like from a seed, for runs that need no file.
"""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from ballast.simulator.world.traces import TraceError

BLOCK_TOKENS = 512
PROMPT_LOAD = 0.05
"""Load of a prompt's token, where an output token's is 1: reading one takes so much less work."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request: when it comes, how long prompt and answer are, and the prompt's blocks.

    `kept_tokens`: how much of the prompt was there at the last turn of its conversation. A client
    knows that much, for it is all but the last message.
    """

    at: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    kept_tokens: int = 0

    @property
    def load(self) -> float:
        """With nothing in a cache."""
        return PROMPT_LOAD * self.prompt_tokens + self.output_tokens

    @property
    def conversation(self) -> tuple[int, ...]:
        """The shared system prompt and the first turn."""
        return self.blocks[:2]


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file.

    Raises:
        TraceError: it holds none.
        OSError: it cannot be read.
    """
    opener: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="") as file:  # type: ignore[attr-defined]
        try:
            prompts = [
                Prompt(
                    float(row["t_s"]),
                    int(row["prompt_tokens"]),
                    int(row["output_tokens"]),
                    tuple(map(int, row["block_ids"].split())),
                )
                for row in csv.DictReader(file)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(
                f"{path}: no trace of blocks ({error}); columns: "
                "t_s, prompt_tokens, output_tokens, block_ids"
            ) from error
    if not prompts:
        raise TraceError(f"{path}: no requests")
    return with_turns(prompts)


SETTLED_S = 600.0
"""By then as many conversations end as begin."""


def synthetic(n_requests: int, seed: int) -> list[Prompt]:
    """At most so many of one service: a shared block, turns with pauses, prompts that grow.

    Its figures are those of a chat service's hour: 1.6 turns in the mean, prompts of 12,000 tokens
    with a heavy tail, 343 tokens of answer, two minutes between turns.
    """
    rng = random.Random(f"prompts:{seed}")
    fresh = count(1)
    prompts: list[Prompt] = []
    now = 0.0
    while now < SETTLED_S + n_requests / 3:
        now += rng.expovariate(2.1)
        at = now
        blocks: tuple[int, ...] = (0,)
        while True:
            grown = max(1, round(rng.lognormvariate(2.1, 1.1)))
            blocks = (*blocks, *(next(fresh) for _ in range(min(grown, 240))))
            tokens = BLOCK_TOKENS * len(blocks) - rng.randrange(BLOCK_TOKENS)
            prompts.append(Prompt(at, tokens, max(1, round(rng.expovariate(1 / 343))), blocks))
            if rng.random() > 0.43 or len(blocks) > 200:
                break
            at += 20.0 + rng.expovariate(1 / 100.0)
    settled = sorted((p for p in prompts if p.at >= SETTLED_S), key=lambda prompt: prompt.at)
    return with_turns(settled[:n_requests])


def with_turns(prompts: list[Prompt]) -> list[Prompt]:
    """Each prompt with what it shares with the last one of its conversation."""
    last: dict[tuple[int, ...], tuple[int, ...]] = {}
    turned = []
    for prompt in prompts:
        before = last.get(prompt.conversation, ())
        last[prompt.conversation] = prompt.blocks
        kept = min(common(before, prompt.blocks) * BLOCK_TOKENS, prompt.prompt_tokens)
        turned.append(replace(prompt, kept_tokens=kept))
    return turned


def common(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """How many blocks both begin with."""
    n = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        n += 1
    return n


def at_load(prompts: list[Prompt], capacity: float, load: float) -> list[Prompt]:
    """The same prompts, faster or slower, so that uncached they are this share of a capacity."""
    span_s = prompts[-1].at - prompts[0].at
    wanted_s = sum(prompt.load for prompt in prompts) / (capacity * load)
    return [
        replace(prompt, at=(prompt.at - prompts[0].at) * wanted_s / span_s) for prompt in prompts
    ]


def with_hot_key(prompts: list[Prompt], share: float, seed: int) -> list[Prompt]:
    """The same, but a share of the requests begin with one and the same long first turn."""
    rng = random.Random(f"hot:{seed}")
    hot = tuple(range(-HOT_BLOCKS, 0))
    return with_turns(
        [
            replace(p, blocks=(p.blocks[0], *hot[: len(p.blocks) - 1], *p.blocks[1 + HOT_BLOCKS :]))
            if rng.random() < share
            else p
            for p in prompts
        ]
    )


HOT_BLOCKS = 15  # 7,680 tokens: a long document that everybody asks about
