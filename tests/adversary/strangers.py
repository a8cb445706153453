"""Strangers without a key: floods at the edge, as its throttles take them."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from infra.options import ROOT
from infra.throttles import Throttle, throttles_for
from tests.adversary.game import Action, Game, Script

PEAK_PER_S = 200.0
SECONDS = 60
OURS: Mapping[str, float] = {  # requests a second of people and machines with keys and tokens
    "POST /api/v0/freeze": 0.5,
    "POST /api/v0/panic": 0.2,
    "POST /worker_status": PEAK_PER_S,
    "GET /bundle": 1.0,
}
_ROUTE = re.compile(
    r'"?(\$default|[A-Z]+ /[^":]*|DefaultRouteSettings)"?: '
    r"\{ThrottlingRateLimit: !Ref (\w+)Rate"
)


@cache
def buckets() -> dict[str, Throttle]:
    """The bucket of each route key: AWS throttles by key, so two keys of a kind share nothing."""
    text = (ROOT / "infra" / "edge.yaml").read_text()
    sizes = asdict(throttles_for(PEAK_PER_S, concurrency=1_000))
    return {key: Throttle(**sizes[kind.lower()]) for key, kind in _ROUTE.findall(text)}


def _flood(dice: random.Random) -> Action:
    keys = [key for key in sorted(buckets()) if key not in OURS]
    return ("flood", dice.choice(keys), dice.choice([1, 10, 100, 1_000, 10_000]))


def _trickle(dice: random.Random) -> Action:
    key = dice.choice(sorted(OURS))
    left = buckets()[key].rate - OURS[key]
    return ("flood", key, dice.uniform(0, max(0.0, left)))


def refused_share(script: Script) -> float:
    """The largest share of our own requests, on any of our paths, that is refused."""
    per_s: dict[str, float] = {}
    for _, key, rate in script:
        per_s[str(key)] = max(per_s.get(str(key), 0.0), float(str(rate)))
    worst = 0.0
    for key, ours in OURS.items():
        bucket, tokens, refused = buckets()[key], float(buckets()[key].burst), 0.0
        for _ in range(SECONDS):
            tokens = min(bucket.burst, tokens + bucket.rate)
            asked = ours + per_s.get(key, 0.0)
            passed = min(asked, tokens)
            tokens -= passed
            refused += ours * (1 - passed / asked)
        worst = max(worst, refused / (ours * SECONDS))
    return round(worst, 6)


GAMES = (
    Game(role="no key", goal="flood", measure="brakes, reports, bundles refused (other paths)",
         bound=0.0, draw=_flood, play=refused_share, length=20, where="the edge's throttles"),
    Game(role="no key", goal="starve", measure="the same, below the throttle of their own paths",
         bound=0.0, draw=_trickle, play=refused_share, length=1, where="the edge's throttles"),
)  # fmt: skip
