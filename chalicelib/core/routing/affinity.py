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
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

N_BUCKETS = 8_192
"""About 30 for each worker of a full shard, so that their shares differ by less than keys' own."""

N_HOMES = 16
"""A key that needs more workers than this at once is so hot that every worker is warm for it."""

N_DRAWN = 48
"""Of many draws about so many are sorted, the least: three times `N_HOMES`, so that one order in a
million is shorter than that (and none is empty)."""

N_NEAR = 4
"""About so many are sorted at first, which is enough for keys that are not hot; one key in 50 has
none of them, and is sorted further at once."""

LOWER_HOME = 0.5
"""A worker's place in a key's order tells how likely it has the prefix: each next one half as much,
for requests come there only while those before it are taken.

From `python -m ballast.simulator caches`: see docs/internals/affinity.md.
"""

UNSTATED_SHARE = 0.2
"""Of a request's cost, what a warm worker is taken to save while neither the client states it nor
a worker tells: 30 % of the prompt blocks of a chat trace, whose prompts are 63 % of its load
(docs/internals/affinity.md)."""

LATELY_S = 600.0
"""As long as workers count what they found (workers/pyworker/reporting/cache_window.py)."""

ENOUGH_LOAD = 2_000.0  # chosen: twenty requests of the default cost

_CLASSES_PER_DOUBLING = 2  # chosen: workers within a factor of 1.4 are of one class
MIN_USD_PER_HOUR = 0.001  # chosen: below every price, so that a free worker has a class, too
MIN_PERF = 1e-9  # chosen: below every perf; a worker may report any above 0, and 1e-120 has no cube


class Preference(NamedTuple):
    """A key's bucket, and the load that a worker which has its prefix need not do again.

    `stated_load`: as far as the client said so, and not what workers told.
    """

    bucket: int
    saved_load: float
    stated_load: float = 0.0

    def at_next_home(self) -> Preference:
        """What the next worker of the key's order may spare."""
        bucket, saved_load, stated_load = self
        return Preference(bucket, saved_load * LOWER_HOME, stated_load * LOWER_HOME)


@dataclass(frozen=True, slots=True)
class CacheBelief:
    """What workers' own counters say of their caches.

    `kept`: the part of what clients state that caches really spare. `spared`: of all load, what
    caches spare; None while no worker tells.
    """

    kept: float = 1.0
    spared: float | None = None


UNTOLD = CacheBelief()


@dataclass(slots=True)
class Promises:
    """What keys promised of the load that one router granted lately, to be held against hits.

    A key's requests come to all routers alike, so that one router's grants show the proportion.
    """

    promised: float = 0.0
    granted: float = 0.0
    _at: float = 0.0

    def note(self, promised: float, cost: float, now: float) -> None:
        """A grant, and what its key promised of its cost: nothing if another reason decided."""
        keep = math.exp(-max(0.0, now - self._at) / LATELY_S)
        self.promised, self.granted = keep * self.promised + promised, keep * self.granted + cost
        self._at = now

    def belief(self, spared_share: float | None) -> CacheBelief:
        """With what workers tell of the group's load, if they do.

        Hits that no key promised count as kept, too: `kept` says what certainly is not so.
        """
        if spared_share is None:
            return UNTOLD
        if self.granted < ENOUGH_LOAD or self.promised <= 0:
            return CacheBelief(1.0, spared_share)
        return CacheBelief(min(1.0, spared_share * self.granted / self.promised), spared_share)


def preferences_of(
    keys: Sequence[str],
    saved_loads: Sequence[float] | None,
    cost: float,
    belief: CacheBelief = UNTOLD,
) -> tuple[Preference, ...]:
    """What keys from general to special ask for, the special one first.

    `saved_loads`: as the client states them, one for each key; no more than `cost`. Without them
    the keys save what caches spare of the group's load.
    """
    if saved_loads is None:
        share = UNSTATED_SHARE if belief.spared is None else belief.spared
        saved = cost * share
        return tuple([Preference(bucket_of(key), saved) for key in reversed(keys)])
    return tuple(
        [
            Preference(bucket_of(key), min(load, cost) * belief.kept, min(load, cost))
            for key, load in zip(reversed(keys), reversed(saved_loads), strict=True)
        ]
    )


def bucket_of(key: str) -> int:
    """The bucket of a key, whatever text it is."""
    return _hash(key) % N_BUCKETS


_LANE = Struct("<Q")  # a worker's 64 bits of a number that holds all workers
_DRAW_BITS = 32  # of a draw; with the 26 bits of a bucket's key a product stays in its lane
_PER_DRAW = -(2.0**-_DRAW_BITS)  # a draw as a fraction, with the sign that the logarithm takes
_ABOVE = 1 << 63  # a lane's highest bit, which no draw reaches
_IS_ABOVE = bytes(byte >> 7 for byte in range(256))  # a byte's highest bit as 0 or 1


class _Reach:
    """Up to where each worker may draw so that about so many do; all where there are fewer."""

    __slots__ = ("inverses", "lanes", "limits")

    def __init__(self, members: Sequence[tuple[int, int]], n_drawn: int) -> None:
        weights = [2.0 ** (c / _CLASSES_PER_DOUBLING) for _, c in members]
        reach = n_drawn / sum(weights) if len(weights) > n_drawn else math.inf
        self.limits = array(
            "Q",
            [_ABOVE + int(-math.expm1(-reach * weight) * 2**_DRAW_BITS) for weight in weights],
        )
        self.lanes = _in_lanes(self.limits)
        self.inverses = array("d", [-1.0 / weight for weight in weights])


class Homes:
    """The orders of one set of workers, each made when it is first asked for.

    Every worker draws for every bucket, so that when one of n comes or goes 1/n of the keys move.
    All draw in one multiplication, of a number that has each worker's seed in 64 bits of its own,
    and few are sorted: one draw after the other would cost a grant 5 % where a conversation is new
    (docs/internals/affinity.md).
    """

    __slots__ = ("_far", "_far_reach", "_low_bits", "_near", "_near_reach", "_seeds", "members")

    def __init__(self, members: tuple[tuple[int, int], ...]) -> None:
        """`members`: (instance id, weight class) of each worker."""
        self.members = members
        self._seeds = _in_lanes([_seed_of(instance_id) for instance_id, _ in members])
        self._low_bits = _in_lanes([2**_DRAW_BITS - 1] * len(members))
        self._near_reach = _Reach(members, N_NEAR)
        self._far_reach: _Reach | None = None  # only hot keys need it
        self._near: dict[int, tuple[int, ...]] = {}
        self._far: dict[int, tuple[int, ...]] = {}

    def one_by_one(self, bucket: int) -> Iterator[int]:
        """As `order_of`; what nobody asks for is not worked out."""
        near = self.first_of(bucket)
        yield from near
        yield from self.order_of(bucket)[len(near) :]

    def first_of(self, bucket: int) -> tuple[int, ...]:
        """The beginning of `order_of`, some workers long, seldom none."""
        near = self._near.get(bucket)
        if near is None:
            near = self._near[bucket] = self._drawn(bucket, self._near_reach)
        return near

    def order_of(self, bucket: int) -> tuple[int, ...]:
        """The workers that a bucket prefers, the first choice first; at most `N_HOMES`."""
        order = self._far.get(bucket)
        if order is None:
            if self._far_reach is None:
                self._far_reach = _Reach(self.members, N_DRAWN)
            order = self._far[bucket] = self._drawn(bucket, self._far_reach)
        return order

    def _drawn(self, bucket: int, reach: _Reach) -> tuple[int, ...]:
        """The low bits of a bucket's key times a worker's seed are as good as drawn.

        -log(1 - u) / weight is an exponential draw of rate `weight`: the least wins in proportion.
        A limit less its draw keeps the highest bit where the draw is within the limit.
        """
        log1p, limits, inverses = math.log1p, reach.limits, reach.inverses
        draws = self._seeds * _key_of_bucket(bucket) & self._low_bits
        left = (reach.lanes - draws).to_bytes(_LANE.size * len(limits), "little")
        is_within = left[_LANE.size - 1 :: _LANE.size].translate(_IS_ABOVE)
        first = []
        at = is_within.find(1)
        while at >= 0:  # the others' numbers are not touched, and need not be near the processor
            draw = limits[at] - _LANE.unpack_from(left, _LANE.size * at)[0]
            first.append((log1p(draw * _PER_DRAW) * inverses[at], self.members[at][0]))
            at = is_within.find(1, at + 1)
        first.sort()
        return tuple([instance_id for _, instance_id in first[:N_HOMES]])


def _in_lanes(numbers: Sequence[int]) -> int:
    return int.from_bytes(struct.pack(f"<{len(numbers)}Q", *numbers), "little")


MAX_KNOWN_HOMES = 40  # chosen: the parts of a fleet of 10,000 workers, at 1 MB each when full


def same_or_new(known: Sequence[Homes], members: tuple[tuple[int, int], ...]) -> tuple[Homes, ...]:
    """The homes of these members, then the others that are known.

    Each refresh of a router's view shows another part of a large fleet: parts seen lately are kept.
    """
    same = next((homes for homes in known if homes.members == members), None) or Homes(members)
    return (same, *[homes for homes in known if homes is not same][: MAX_KNOWN_HOMES - 1])


@lru_cache(maxsize=16_384)
def _seed_of(instance_id: int) -> int:
    """Always the same for a worker."""
    return _hash(f"worker {instance_id}") >> (64 - _DRAW_BITS)


@lru_cache(maxsize=N_BUCKETS)
def _key_of_bucket(bucket: int) -> int:
    """An odd number of 26 bits, so that no two seeds draw the same."""
    return _hash(f"bucket {bucket}") >> 38 | 1


@lru_cache(maxsize=16_384)
def weight_class(perf: float, usd_per_hour: float) -> int:
    """A worker's weight in half doublings, so that no key moves for a small change of speed.

    By perf, since fast workers serve more; and by the square root of what is cheap, since the dear
    ones are the first to be stopped, and what only they remember is lost: perf / sqrt(usd per load)
    is sqrt(perf ** 3 / usd).
    """
    usd = max(usd_per_hour, MIN_USD_PER_HOUR)
    return round(3 * math.log2(max(perf, MIN_PERF)) - math.log2(usd))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
