"""What requests use against what their callers say they cost. Pure.

A caller's cost is a claim: clients send caps (65,535 tokens) far above what is generated, and
anybody may send 1e9. Workers tell of each finished request what it used and at which route, and its
`request_idx` says under which key and which stated cost it came. From that a request is weighed:
what such requests of its key used at the route that it names, or at all of them; else at most what
99 % of those of its stated cost used; and before anything is known at most `UNLEARNED_TIMES` the
default cost, and what a worker serves within `max_queue_time`.

Each worker's row keeps what that worker told, so that one worker's lies stand alone: the middle of
the workers counts. How many requests it served is its own word, too: it is heard for as many as it
was granted, and for `ENOUGH` at most.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

ENOUGH = 20
"""Finished requests from which a use is known."""

# With fewer answers than this teaches, a request weighs at most so many of the route's usual.
UNLEARNED_TIMES = 10.0
UNLEARNED_COST = 100.0
"""Of a request that says nothing (wire/routing.py DEFAULT_COST)."""

MAX_N = 200
"""Requests that a mean averages: what callers do changes."""

MAX_ENTRIES = 4
"""Kinds of a row by themselves, the most used: a row stays below 1 kB. All others are one more: of
fifty keys with two requests each no kind is known, and yet what the group's requests use is."""

MAX_IN_VIEW = 64  # chosen: bounds the view; the keys that are used most
APART = 4.0  # chosen: means of twenty requests of one kind do not differ so
"""Two workers alone whose means differ by more say nothing: nobody knows which one is wrong."""

TRUTHFUL = 1.5
"""A mean within the stated costs' bucket, or this far beside, confirms them as they are."""

MAX_USED = 1e9  # keeps sums exact in a float
RISE, TAIL = 0.25, 0.01
"""How fast the 99th percentile follows: up by 28 % for what is above it, down by as much in sum for
the 99 below it (stochastic approximation of a quantile, Robbins and Monro)."""

N_TAGS, N_BUCKETS, N_ROUTES = (
    32,
    32,
    16,
)  # chosen: bounds the memory; collisions only make an estimate coarser
POOLED, ALL = N_TAGS * N_BUCKETS, (N_TAGS + 1) * N_BUCKETS
"""Keys of what all callers' keys used: by the bucket of the stated cost, and altogether."""

AT_A_ROUTE = 1 << 11
"""A key plus this times a route's tag: what was used at that route alone; tag 0 is no route."""

Use = tuple[int, int, float, float]
"""(key, requests, mean used, 99th percentile of used); a key is tags and a bucket in one."""


def use_key(key_id: str, stated: float) -> int:
    """10 bits for a caller's key and a stated cost: a request's idx carries them to the worker."""
    return tag_of(key_id) * N_BUCKETS + bucket_of(stated)


def tag_of(key_id: str) -> int:
    """The short name of a caller's key; two keys share one now and then, and then their use."""
    return zlib.crc32(key_id.encode()) % N_TAGS


def route_key(key: int, route: str) -> int:
    """The key of what was used at a worker's route, such as `/v1/chat/completions`."""
    tag = 1 + zlib.crc32(route.encode()) % (N_ROUTES - 1) if route else 0
    return key + tag * AT_A_ROUTE


def bucket_of(stated: float) -> int:
    """Costs within a factor of two are one; below 1 they are all alike."""
    return min(max(math.frexp(stated)[1], 0), N_BUCKETS - 1) if stated > 0 else 0


def note_uses(uses: Sequence[Use], finished: Iterable[tuple[int, float]]) -> tuple[Use, ...]:
    """A row's uses with the (key, used) of requests that finished."""
    kinds = {use[0]: use for use in uses if _is_own(use[0])}
    rest = next((use for use in uses if not _is_own(use[0])), None)
    for key, used in finished:
        if not (0 <= key < N_ROUTES * AT_A_ROUTE and _is_own(key) and 0 <= used <= MAX_USED):
            continue
        kinds[key] = _with_one(kinds.get(key), key, used)
        if len(kinds) > MAX_ENTRIES:
            least = kinds.pop(min(kinds, key=lambda kind: (kinds[kind][1], kind == key)))
            rest = _with_one(rest, _rest_key(rest, least[0]), least[2])
    return tuple(sorted([*kinds.values(), *([rest] if rest else [])]))


def _rest_key(rest: Use | None, key: int) -> int:
    """What the kinds that a row does not tell apart have in common: a stated cost, or nothing."""
    pooled = POOLED + key % N_BUCKETS
    return pooled if rest is None or rest[0] == pooled else ALL


def _with_one(use: Use | None, key: int, used: float) -> Use:
    if use is None:
        return key, 1, used, used
    _, n, mean, high = use
    n = min(n + 1, MAX_N)
    mean += (used - mean) / n
    if n <= ENOUGH:
        high = max(high, used)
    elif used > high:
        high *= math.exp(RISE * (1.0 - TAIL))
    else:
        high *= math.exp(-RISE * TAIL)
    return key, n, mean, max(high, mean)


def heard(uses: Sequence[Use], n_granted: int) -> list[Use]:
    """A row's uses, of as many requests in all as its worker was granted."""
    n_told = sum(use[1] for use in uses)
    if n_told <= n_granted:
        return list(uses)
    capped = [(key, n * n_granted // n_told, mean, high) for key, n, mean, high in uses]
    return [use for use in capped if use[1] > 0]


def combine_uses(rows: Iterable[Sequence[Use]]) -> tuple[Use, ...]:
    """What the workers of a group say together: by key, by stated cost, and altogether."""
    told: dict[int, list[Use]] = {}
    for uses in rows:
        of_row: dict[int, list[Use]] = {}
        for use in uses:
            key = use[0]
            for under in _part_of(key):
                of_row.setdefault(under, []).append(use)
        for under, parts in of_row.items():
            told.setdefault(under, []).append(_mixed(under, parts))
    combined = [
        (
            key,
            sum(use[1] for use in uses),
            _middle([(use[2], min(use[1], ENOUGH)) for use in uses]),
            _middle([(use[3], min(use[1], ENOUGH)) for use in uses]),
        )
        for key, uses in told.items()
        if not _are_two_apart(uses)
    ]
    known = [use for use in combined if use[1] >= ENOUGH]
    most = sorted(known, key=lambda use: (_is_own(use[0]), -use[1], use[0]))[:MAX_IN_VIEW]
    return tuple(sorted(most))


def _part_of(key: int) -> set[int]:
    """Under which keys a use counts: its own, without its route, by its stated cost, and all."""
    if not _is_own(key):
        return {key, ALL}
    return {key, key % AT_A_ROUTE, POOLED + key % N_BUCKETS, ALL}


def _mixed(key: int, parts: Sequence[Use]) -> Use:
    """One worker's uses of several kinds as one; what fewer than 1 % use is in nobody's tail."""
    weighed = [(min(n, MAX_N), mean, high) for _, n, mean, high in parts]
    total = sum(n for n, _, _ in weighed)
    seen, tail = 0, 0.0
    for n, _, high in sorted(weighed, key=lambda part: -part[2]):
        seen, tail = seen + n, high
        if seen > total * TAIL:
            break
    return key, total, sum(n * mean for n, mean, _ in weighed) / total, tail


def _are_two_apart(uses: Sequence[Use]) -> bool:
    if len(uses) != 2:
        return False
    (_, n, mean, _), (_, m, other, _) = uses
    return min(n, m) >= ENOUGH and max(mean, other) > APART * min(mean, other)


def _is_own(key: int) -> bool:
    """Whether it is of one caller's key, not of all of them."""
    return key % AT_A_ROUTE < POOLED


def usual_use(uses: Iterable[Use]) -> float:
    """What a request of the group uses in the mean; 0 while nobody knows."""
    return next((mean for key, _, mean, _ in uses if key == ALL), 0.0)


def _middle(weighed: Sequence[tuple[float, int]]) -> float:
    """The lower weighted median."""
    ordered = sorted(weighed)
    half, seen = sum(weight for _, weight in ordered) / 2, 0.0
    for value, weight in ordered:
        seen += weight
        if seen >= half:
            return value
    return 0.0


@dataclass(frozen=True, slots=True)
class Uses:
    """What a router knows of use."""

    by_key: Mapping[int, Use] = field(default_factory=dict)

    @staticmethod
    def of(uses: Iterable[Use]) -> Uses:
        """From a view's list."""
        return Uses({use[0]: use for use in uses})

    def weigh(self, key_id: str, stated: float, *, most: float, route: str = "") -> float:
        """What a request counts as. `route`: where it goes at the worker, if its caller says so.

        `most`: what one worker serves within `max_queue_time`; more counts only once that much was
        used.
        """
        key = use_key(key_id, stated)
        pooled = self.by_key.get(POOLED + key % N_BUCKETS)
        own = self.by_key.get(route_key(key, route)) or self.by_key.get(key)
        if own is not None:
            if _confirms(own, stated):
                return min(stated, pooled[3] if pooled else own[3])
            return min(own[2], max(stated, most))
        if pooled is not None:
            return min(stated, pooled[3])
        everything = self.by_key.get(ALL)
        if everything is not None:
            return min(stated, everything[3], most)
        return min(stated, UNLEARNED_TIMES * UNLEARNED_COST, most)


def _confirms(use: Use, stated: float) -> bool:
    """Whether what such requests used is about what they said."""
    high = math.ldexp(1.0, bucket_of(stated))
    low = high / 2 if bucket_of(stated) > 0 else 0.0
    return low / TRUTHFUL <= use[2] <= high * TRUTHFUL
