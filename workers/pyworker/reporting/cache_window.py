"""What the model server found in its cache lately, as reports tell it. Pure."""

from __future__ import annotations

import math

from chalicelib.wire.token_cost import PROMPT_SHARE
from workers.pyworker.model.answers import PromptRead

LATELY_S = 600.0  # chosen: conversations pause for minutes, and a change of traffic shows soon


class CacheWindow:
    """Tokens of prompts, those cached, and the load of requests; what is older fades."""

    def __init__(self) -> None:
        self._counted = (0.0, 0.0, 0.0)  # the counters at the last look
        self._lately = (0.0, 0.0, 0.0)
        self._at: float | None = None

    def take(self, told: PromptRead | None, received_load: float, now: float) -> None:
        """The counters as they are now; `told` None: the model server does not tell."""
        if told is None:
            return
        counted = (told.tokens, told.cached, received_load)
        keep = 1.0 if self._at is None else math.exp(-max(0.0, now - self._at) / LATELY_S)
        added = [max(0.0, new - old) for new, old in zip(counted, self._counted, strict=True)]
        asked, hit, load = (keep * old + new for old, new in zip(self._lately, added, strict=True))
        self._counted, self._lately, self._at = counted, (asked, hit, load), now

    def fields(self) -> dict[str, object]:
        """A report's part; nothing where nobody tells.

        `prompt_tokens` of lately, the share of them that was cached, and the share of the load that
        reading those again would have cost, in the back end's unit.
        """
        if self._at is None:
            return {}
        asked, hit, load = self._lately
        return {
            "prompt_tokens": round(asked, 1),
            "cache_hit_share": round(hit / asked, 4) if asked > 0 else 0.0,
            "cache_spared_share": round(min(1.0, hit * PROMPT_SHARE / load), 4)
            if load > 0
            else 0.0,
        }
