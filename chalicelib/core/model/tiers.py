"""Which autogroups of a tier are one pool: routing and scaling must agree on it."""

from __future__ import annotations

from collections.abc import Sequence


def pools_of(weights: Sequence[tuple[int, float]]) -> list[tuple[tuple[int, ...], float]]:
    """(indexes, weight) of each pool of a tier, from (index, weight) of those that may serve.

    Where all weights are equal the owner asked for no split, and the tier is one pool; otherwise
    each is a pool of its own and gets its weight's exact part.
    """
    if len({weight for _, weight in weights}) == 1:
        return [(tuple(i for i, _ in weights), weights[0][1])]
    return [((i,), weight) for i, weight in weights]
