"""Lanes: paths of the edge that workers alone know, each with a throttle of its own.

API Gateway throttles by route key, not by caller. So a worker gets, in REPORT_ADDR, a path that
nobody can guess: strangers who flood `/worker_status/` take nothing from it, and one worker that
floods its lane is in the way of those in that lane alone. A worker of a group gets the lane in
which the fewest of the others are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from chalicelib.core.model.caller_key import WORKER_MAC_PURPOSE
from chalicelib.ports.signer import SecretBox

N_LANES: Final = 32
"""With two route keys each and the edge's own, a third of the 300 that an HTTP API may have
(docs/internals/aws-rules.md, lanes), and a template below CloudFormation's 51,200 bytes."""
PREFIX: Final = "w-"
_NAME_CHARS = 22  # 132 bits
_N_DRAWS = 2 * N_LANES  # of which one meets a free lane, if a twentieth of them are free


def lane_path(secrets: SecretBox, lane: int) -> str:
    """The first segment of a lane's paths. A token's MAC begins with a number: none is a lane's."""
    return PREFIX + secrets.mac(WORKER_MAC_PURPOSE, f"lane.{lane}")[:_NAME_CHARS]


def lane_of(intent_token: str, n_lanes: int) -> int:
    """The lane of a rental, by the random part of its token."""
    return int(intent_token[:8], 16) % n_lanes


def quiet_token(draw: Callable[[], str], others: Iterable[str], n_lanes: int) -> str:
    """The begin of a token whose lane holds the fewest of the others' tokens, of so many drawn.

    Without lanes, the first one drawn.
    """
    if not n_lanes:
        return draw()
    taken = Counter(lane_of(token, n_lanes) for token in others if _is_token(token))
    fewest = 0 if len(taken) < n_lanes else min(taken.values())
    best = draw()
    for _ in range(_N_DRAWS):
        if taken[lane_of(best, n_lanes)] <= fewest:
            break
        best = min(best, draw(), key=lambda token: taken[lane_of(token, n_lanes)])
    return best


def _is_token(text: str) -> bool:
    """An adopted machine's row may hold none."""
    return len(text) >= 8 and all(c in "0123456789abcdef" for c in text[:8])
