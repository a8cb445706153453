"""Which workers a caller's key prefers: rendezvous hashing, so that few keys move when workers do.

A key is opaque: equal prompts have equal keys, and that is all that is known of them. It falls into
one of `N_BUCKETS`, and each bucket has an order of workers (highest random weight; Thaler and
Ravishankar, "Using name-based mappings to increase hit rates", 1998): when one of n leaves, only
its own keys move, 1/n of all. An order is made at a bucket's first use and kept as long as the same
workers are there, whatever they do meanwhile; so a grant costs one look-up, and nothing is kept for
a key.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

N_BUCKETS = 8_192
"""About 30 for each worker of a full shard, so that their shares differ by less than keys' own."""

N_HOMES = 16
"""A key that needs more workers than this at once is so hot that every worker is warm for it."""

UNSTATED_SHARE = 0.2
"""Of a request's cost, what a warm worker is taken to save if the client does not state it: 30 % of
the prompt blocks of a chat trace, whose prompts are 63 % of its load (docs/internals/affinity.md).
"""

_MASK = (1 << 64) - 1  # 64 bits
_MIX = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: multiplying by it scatters (Knuth 6.4)
_CLASSES_PER_DOUBLING = 2  # chosen: workers within a factor of 1.4 are of one class


@dataclass(frozen=True, slots=True)
class Preference:
    """A key's bucket, and the load that a worker which has its prefix need not do again."""

    bucket: int
    saved_load: float


def preferences_of(
    keys: Sequence[str], saved_loads: Sequence[float] | None, cost: float
) -> tuple[Preference, ...]:
    """What keys from general to special ask for, the special one first.

    `saved_loads`: as the client states them, one for each key; no more than `cost`.
    """
    stated = saved_loads if saved_loads is not None else [cost * UNSTATED_SHARE] * len(keys)
    pairs = zip(keys, stated, strict=True)
    return tuple(Preference(bucket_of(key), min(load, cost)) for key, load in pairs)[::-1]


def bucket_of(key: str) -> int:
    """The bucket of a key, whatever text it is."""
    return _hash(key) % N_BUCKETS


class Homes:
    """The orders of one set of workers, each made when it is first asked for."""

    __slots__ = ("_even", "_ids", "_inverse_weights", "_orders", "_seeds", "members")

    def __init__(self, members: tuple[tuple[int, int], ...]) -> None:
        """`members`: (instance id, weight class) of each worker, by instance id."""
        self.members = members
        self._ids = [instance_id for instance_id, _ in members]
        self._seeds = [_hash(str(instance_id)) for instance_id in self._ids]
        self._even = len({weight_class for _, weight_class in members}) == 1
        self._inverse_weights = [2.0 ** (-c / _CLASSES_PER_DOUBLING) for _, c in members]
        self._orders: dict[int, tuple[int, ...]] = {}

    def order_of(self, bucket: int) -> tuple[int, ...]:
        """The workers that a bucket prefers, the first choice first; at most `N_HOMES`."""
        order = self._orders.get(bucket)
        if order is None:
            order = self._orders[bucket] = self._make_order(bucket)
        return order

    def _make_order(self, bucket: int) -> tuple[int, ...]:
        key = ((bucket + 1) * _MIX) & _MASK
        key ^= key >> 29
        drawn = [((key ^ seed) * _MIX) & _MASK for seed in self._seeds]
        if self._even:
            first = sorted(range(len(drawn)), key=drawn.__getitem__, reverse=True)
        else:
            # -log(u) / weight is an exponential draw of rate `weight`: the least wins in proportion
            log = math.log
            late = [
                -log((number + 1) / 2.0**64) * inverse
                for number, inverse in zip(drawn, self._inverse_weights, strict=True)
            ]
            first = sorted(range(len(late)), key=late.__getitem__)
        return tuple(self._ids[i] for i in first[:N_HOMES])


def weight_class(perf: float, usd_per_load: float) -> int:
    """A worker's weight in half doublings, so that no key moves for a small change of speed.

    By perf, since fast workers serve more; and by the square root of what is cheap, since the dear
    ones are the first to be stopped, and what only they remember is lost.
    """
    price = max(usd_per_load, 1e-12)
    return round(_CLASSES_PER_DOUBLING * (math.log2(perf) - math.log2(price) / 2))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
