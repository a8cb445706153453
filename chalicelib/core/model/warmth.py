"""What model servers find in their caches of prompts, by their own counters. Pure.

Only workers that tell count: what is not told is not known, and never taken to be nothing. They are
weighed by what was granted to them, so that a worker's lies stand for its own part alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class CacheUse(NamedTuple):
    """What one worker tells of lately (the last ten minutes).

    `prompt_tokens`: of all prompts; `hit_share`: of those, found in a cache; `spared_share`: of the
    load of all requests, what reading those again would have cost.
    """

    prompt_tokens: float
    hit_share: float
    spared_share: float

    @property
    def cached_tokens(self) -> float:
        """What would be lost with this cache, as far as lately tells."""
        return self.prompt_tokens * self.hit_share

    @property
    def warmth(self) -> float:
        """How much would be lost, from 0 (nothing) towards 1: to compare workers by."""
        return self.cached_tokens / (self.cached_tokens + HALF_WARM_TOKENS)


SPARED_SPAN_S = 120.0  # chosen: as far as marks of grants reach back (core/model/load.py)
HALF_WARM_TOKENS = 100_000.0  # chosen: some seconds of reading prompts, found again in ten minutes


def hit_share(uses: Iterable[CacheUse | None]) -> float | None:
    """Of the prompts' tokens lately, the share that was found cached; None: nobody tells."""
    told = [use for use in uses if use is not None]
    asked = sum(use.prompt_tokens for use in told)
    return sum(use.cached_tokens for use in told) / asked if asked >= 1.0 else None


def spared_share(weighed: Iterable[tuple[CacheUse | None, float]]) -> float | None:
    """Of a group's load lately, what its caches spared; None while nobody tells.

    `weighed`: each worker's use, and the load granted to it lately.
    """
    told = [(use.spared_share, granted) for use, granted in weighed if use is not None]
    granted = sum(weight for _, weight in told)
    return sum(share * weight for share, weight in told) / granted if granted > 0 else None
