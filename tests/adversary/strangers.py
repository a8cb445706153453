"""Strangers without a key, and one worker with its lane: floods at the edge's throttles."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from chalicelib.services.market.lanes import N_LANES, lane_of, quiet_token
from fakes.ports.secret_box import FakeSecretBox
from infra.lanes import lane_paths, with_lanes
from infra.options import ROOT
from infra.throttles import Throttle, throttles_for
from tests.adversary.game import Action, Game, Script

PEAK_PER_S = 200.0
SECONDS = 60
LANES = lane_paths(FakeSecretBox())
BRAKES: Mapping[str, float] = {"POST /api/v0/freeze": 0.5, "POST /api/v0/panic": 0.2}
WORKERS: Mapping[str, float] = {  # requests a second of the workers in each lane
    **{f"POST /{lane}/{{proxy+}}": 2 * PEAK_PER_S / N_LANES for lane in LANES},
    **{f"GET /{lane}/{{proxy+}}": 1.0 for lane in LANES},
}
OURS = {**BRAKES, **WORKERS}
_ROUTE = re.compile(
    r'"?(\$default|[A-Z]+ /[^":]*|DefaultRouteSettings)"?: '
    r"\{ThrottlingRateLimit: !Ref (\w+)Rate"
)


@cache
def buckets() -> dict[str, Throttle]:
    """The bucket of each route key: AWS throttles by key, so two keys of a kind share nothing."""
    text = with_lanes((ROOT / "infra" / "edge.yaml").read_text(), LANES)
    sizes = asdict(throttles_for(PEAK_PER_S, concurrency=1_000))
    return {key: Throttle(**sizes[kind.lower()]) for key, kind in _ROUTE.findall(text)}


def _flood(dice: random.Random) -> Action:
    """Any path that a stranger can name, the workers' public ones too, but the brakes' own."""
    keys = [key for key in sorted(buckets()) if key not in OURS]
    return ("flood", dice.choice(keys), dice.choice([1, 10, 100, 1_000, 10_000]))


def _trickle(dice: random.Random) -> Action:
    key = dice.choice(sorted(BRAKES))
    left = buckets()[key].rate - BRAKES[key]
    return ("flood", key, dice.uniform(0, max(0.0, left)))


def _flood_of_worker(dice: random.Random) -> Action:
    """One of so many workers: its own lane is the one more path that it can name."""
    if dice.random() < 0.5:
        return _flood(dice)
    method = dice.choice(["POST", "GET"])
    return ("flood", f"{method} /{LANES[_lanes_of_workers()[0]]}/{{proxy+}}", 10_000)


@cache
def _lanes_of_workers() -> list[int]:
    """As many workers as there are lanes, as they are rented one after the other."""
    dice, tokens = random.Random(1), list[str]()
    for _ in range(N_LANES):
        tokens.append(quiet_token(lambda: f"{dice.getrandbits(64):016x}", tokens, N_LANES))
    return [lane_of(token, N_LANES) for token in tokens]


def refused_share(script: Script) -> float:
    """The largest share of our own requests, on any of our paths, that is refused."""
    return max(_refused(key, ours, script) for key, ours in OURS.items())


def refused_to_others(script: Script) -> float:
    """The share of other workers whose reports, or whose bundle, one worker's flood refuses."""
    others = _lanes_of_workers()[1:]
    hurt = [
        lane
        for lane in others
        for method in ("POST", "GET")
        if _refused(f"{method} /{LANES[lane]}/{{proxy+}}", 2.0, script) > 0
    ]
    return len(hurt) / len(others) + sum(_refused(key, n, script) for key, n in BRAKES.items())


def _refused(key: str, ours: float, script: Script) -> float:
    per_s = max((float(str(rate)) for _, at, rate in script if at == key), default=0.0)
    bucket, tokens, refused = buckets()[key], float(buckets()[key].burst), 0.0
    for _ in range(SECONDS):
        tokens = min(bucket.burst, tokens + bucket.rate)
        asked = ours + per_s
        passed = min(asked, tokens)
        tokens -= passed
        refused += ours * (1 - passed / asked)
    return round(refused / (ours * SECONDS), 6)


GAMES = (
    Game(role="no key", goal="flood", measure="reports, bundles, brakes refused, by other paths",
         bound=0.0, draw=_flood, play=refused_share, length=20, where="the edge's throttles"),
    Game(role="no key", goal="starve", measure="brakes refused below the throttle of their path",
         bound=0.0, draw=_trickle, play=refused_share, length=1, where="the edge's throttles"),
    Game(role="worker's token", goal="flood", measure=f"of {N_LANES - 1} others, refused reports",
         bound=0.0, draw=_flood_of_worker, play=refused_to_others, length=20,
         where="the edge's throttles"),
)  # fmt: skip
