"""Admission: who of the waiting may start now, and how long the others will wait.

Late binding: a request that can wait is given to a worker only if it would start there soon.
On time first: among the waiting, those that can still start within `target_queue_time` go first,
oldest first, but a large one as if it had come some seconds later (`turn_at`); the overdue get what
is left, and a share that grows with the age of the oldest of them, so that nobody waits for ever.
Between callers' keys, capacity is shared by weight (max-min).
The result is a pair of cut-offs per key: a request whose turn is before its cut-off may start.
Source: the study behind docs/decisions (late binding: 4-14 % cheaper fleets at equal attainment).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from chalicelib.core.model.endpoint_group import QueueOrder

NEVER = float("-inf")
ALWAYS = float("inf")

PACED_BIND_S, QUICK_BIND_S = 1.0, 2.0  # scaling.md 8
QUICK_SERVICE_S = 2.0
"""Paced clients are bound late, so that the queue's order counts; but that something came free is
known a second or two later, and where requests are quicker the next one must be there already."""

RANDOM_BIND_S = 5.0  # scaling.md 8: their longest pause (protocol.md A.5)
RANDOM_BIND_SHARE = 0.7  # of target_queue_time: just inside the objective

AHEAD = 1.25  # chosen: some who are told to come find their turn taken by an older one
AHEAD_BIND_S = 1.0
"""A key that had so many times its share lately is bound no earlier: what it queues at the workers
makes the others wait."""

HELD_BIND_SHARE = 0.3
"""Of the mean service time: so little work may be before a request of a key that had more than its
share and is held back. A flood fills the workers to this bound, and others come behind that."""

BASE_OVERDUE_SHARE = 0.05  # scaling.md 8
MAX_OVERDUE_SHARE = 0.5  # scaling.md 8
# The golden ratio: the least regular fractions, so no pattern of arrivals meets them.
GOLDEN = 0.6180339887498949
ROUNDING = 1e-6  # of sums of shares


class ClientKind(Enum):
    """How a client behaves when told to wait."""

    PACED = "paced"  # asks again when the reply says so
    RANDOM = "random"  # carries request_idx and asks again at random, up to 5 s later
    ONE_SHOT = "one_shot"  # knows no request_idx: does not ask again, or as a new request


@dataclass(frozen=True, kw_only=True, slots=True)
class AdmissionParams:
    """The owner's parameters that admission needs; times in seconds."""

    target_queue_time: float = 10.0
    max_queue_time: float = 30.0
    queue_order: QueueOrder = QueueOrder.ON_TIME_FIRST


@dataclass(frozen=True, slots=True)
class Queued:
    """A waiting request."""

    first_seen_at: float
    cost: float
    key_id: str = ""
    is_paced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutoff:
    """Requests first seen before this may start now.

    `hold_share`: of the requests still on time, the share held back so that the overdue get theirs.
    `typical_cost`: of a request that waits, for `turn_at`; 0 where size does not count.
    """

    admit_before: float = ALWAYS
    overdue_admit_before: float = ALWAYS
    hold_share: float = 0.0
    typical_cost: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether every request that is still on time may start."""
        return self.admit_before == ALWAYS


@dataclass(frozen=True, kw_only=True, slots=True)
class Cutoffs:
    """The cut-offs of the keys that have requests waiting; all others may start at once."""

    by_key: Mapping[str, Cutoff] = field(default_factory=dict)

    def for_key(self, key_id: str) -> Cutoff:
        """The cut-off for requests under a key."""
        return self.by_key.get(key_id, _OPEN)

    def admits(self, key_id: str) -> bool:
        """Whether requests under this key need not wait for those of others, who are held back."""
        return self.for_key(key_id).is_open and any(not c.is_open for c in self.by_key.values())


_OPEN = Cutoff()


@dataclass(frozen=True, slots=True)
class Bound:
    """A request is bound to a worker where it starts `within_s`.

    `is_strict`: and the worker must not have been given more meanwhile.
    """

    within_s: float
    is_strict: bool = False


def bound_of(within_s: float, *, times_its_share: float, is_held: bool, service_s: float) -> Bound:
    """The bound for a key: it yields to others if it had more than its share.

    `service_s`: of a request in the mean.
    """
    if is_held and times_its_share > 1:
        return Bound(min(within_s, AHEAD_BIND_S, HELD_BIND_SHARE * service_s), is_strict=True)
    if times_its_share > AHEAD:
        return Bound(min(within_s, AHEAD_BIND_S))
    return Bound(within_s)


def bind_within_s(kind: ClientKind, params: AdmissionParams, service_s: float) -> float:
    """How soon a request must start to be bound; `service_s`: of a slot, 0 if nobody knows."""
    if kind is ClientKind.ONE_SHOT:
        return params.max_queue_time
    if kind is ClientKind.PACED:
        quick = QUICK_BIND_S * QUICK_SERVICE_S / max(service_s, QUICK_SERVICE_S)
        return min(max(PACED_BIND_S, quick), params.target_queue_time)
    return min(RANDOM_BIND_S, RANDOM_BIND_SHARE * params.target_queue_time)


def may_start(
    request: Queued, now: float, cutoff: Cutoff, params: AdmissionParams, *, dice: float = 1.0
) -> bool:
    """Whether a request is in turn; `dice` in [0, 1) decides who is held back for the overdue."""
    if is_overdue(request.first_seen_at, now, params):
        return request.first_seen_at <= cutoff.overdue_admit_before
    turn = turn_at(request, cutoff.typical_cost, params)
    return turn <= cutoff.admit_before and dice >= cutoff.hold_share


def turn_at(request: Queued, typical_cost: float, params: AdmissionParams) -> float:
    """When a request's place in the queue counts from: its first sight, later for a large one.

    Late are then the few large ones, each of which would make several small ones late (Moore and
    Hodgson's rule in the mean). The bias stays below `target_queue_time`; who says less than the
    request costs gains no more than that. Who is overdue goes by age alone.
    """
    if typical_cost <= 0:
        return request.first_seen_at
    share = request.cost / (request.cost + typical_cost)
    return request.first_seen_at + share * params.target_queue_time


def typical_cost_of(waiting: Sequence[Queued], params: AdmissionParams) -> float:
    """The mean cost of those who wait; 0 where the owner's order is by arrival alone."""
    if not waiting or params.queue_order is QueueOrder.FIFO:
        return 0.0
    return sum(request.cost for request in waiting) / len(waiting)


def is_overdue(first_seen_at: float, now: float, params: AdmissionParams) -> bool:
    """Whether a request can no longer start within `target_queue_time`."""
    return now - first_seen_at > params.target_queue_time


def decide_cutoffs(
    waiting: Sequence[Queued],
    room: float,
    params: AdmissionParams,
    now: float,
    *,
    shares: Mapping[str, float] | None = None,
    ask_again_s: float = 0.0,
) -> Cutoffs:
    """Cut-offs that let about `room` load start; `shares` weighs keys, 1 where it says nothing.

    `ask_again_s`: who becomes overdue so soon may not ask in time, so no room is kept for it.
    """
    by_key: dict[str, list[Queued]] = {}
    for request in waiting:
        by_key.setdefault(request.key_id, []).append(request)
    demands = {key: sum(r.cost for r in requests) for key, requests in by_key.items()}
    rooms = share_fairly(demands, room, shares or {})
    soon = now + min(ask_again_s, params.target_queue_time / 3)
    # Hundreds of keys have less than a request's room each: at each moment some of them go, and
    # not in one moment all and then nobody for a minute.
    moment = math.floor(soon) * GOLDEN
    dithers = {key: (moment + n / len(by_key)) % 1.0 for n, key in enumerate(sorted(by_key))}
    return Cutoffs(
        by_key={
            key: _cutoff(requests, rooms[key], params, soon, dithers[key])
            for key, requests in by_key.items()
        }
    )


def share_fairly(
    demands: Mapping[str, float], room: float, shares: Mapping[str, float]
) -> dict[str, float]:
    """Weighted max-min: nobody gets more than asked while another is short of its share.

    What is left when all demands are met goes to all by weight.
    """
    given: dict[str, float] = {}
    open_keys = sorted(demands, key=lambda k: (demands[k] / _weight(k, shares), k))
    left, weight_left = room, sum(_weight(k, shares) for k in open_keys)
    for key in open_keys:
        weight = _weight(key, shares)
        given[key] = min(demands[key], left * weight / weight_left)
        left -= given[key]
        weight_left -= weight
    if left > 0 and demands:
        total = sum(_weight(k, shares) for k in demands)
        given = {k: v + left * _weight(k, shares) / total for k, v in given.items()}
    return given


def _weight(key: str, shares: Mapping[str, float]) -> float:
    return max(1e-6, shares.get(key, 1.0))


def _cutoff(
    requests: Sequence[Queued], room: float, params: AdmissionParams, now: float, dither: float
) -> Cutoff:
    if params.queue_order is QueueOrder.FIFO:
        until, _ = _admit(_in_turn(requests, 0.0, params), room)
        return Cutoff(admit_before=until, overdue_admit_before=until)
    typical = typical_cost_of(requests, params)
    late = [r for r in requests if is_overdue(r.first_seen_at, now, params)]
    overdue = _in_turn(late, 0.0, params)
    on_time = [r for r in requests if not is_overdue(r.first_seen_at, now, params)]
    share = overdue_share([r.first_seen_at for r in late], params, now)
    admit_before, left = _admit(_in_turn(on_time, typical, params), room * (1 - share))
    # In small rooms the share is less than a request: then it is a share of the moments.
    overdue_until, _ = _admit(overdue, room * share + left, dither=dither)
    return Cutoff(
        admit_before=admit_before,
        overdue_admit_before=overdue_until,
        hold_share=share if overdue_until is not ALWAYS else 0.0,
        typical_cost=typical,
    )


def _in_turn(
    requests: Sequence[Queued], typical_cost: float, params: AdmissionParams
) -> list[tuple[float, float]]:
    """(turn, cost) of each, the first in turn first."""
    return sorted((turn_at(r, typical_cost, params), r.cost) for r in requests)


def _admit(
    in_turn: Sequence[tuple[float, float]], room: float, *, dither: float = 0.0
) -> tuple[float, float]:
    """(cut-off, room left) when the first in turn go first.

    A request that fits only in part goes if that part is above `dither`, in [0, 1).
    """
    left, until = room, NEVER
    for turn, cost in in_turn:
        if left < cost and left <= dither * cost:
            return until, 0.0
        left -= cost
        until = turn
    return (ALWAYS if left >= -ROUNDING else until), max(0.0, left)


def overdue_share(seen_at: Sequence[float], params: AdmissionParams, now: float) -> float:
    """The share of capacity kept for the overdue: 5 %, rising to half in 10 x `max_queue_time`."""
    if not seen_at:
        return 0.0
    aged = (now - min(seen_at) - params.target_queue_time) / (10 * params.max_queue_time)
    return min(MAX_OVERDUE_SHARE, BASE_OVERDUE_SHARE + (MAX_OVERDUE_SHARE * max(0.0, aged)))
