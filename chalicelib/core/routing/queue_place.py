"""A place in the queue: how many are ahead, about when a request will start, when to ask again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.core.routing.admission import AdmissionParams, Queued, is_overdue, turn_at

MAX_PROFILE_POINTS = 16  # chosen: bounds the view

SHORTEST_PAUSE_S = 0.5  # chosen: two calls a second at most from one who waits
LAST_LOOK_S = 0.4
"""Who is about to become overdue asks once more so long before: a later look would find it late."""

# A row that is polled so rarely is still alive (ports/routing_view.py: 20 s).
LONGEST_PAUSE_S = 6.7
NOTE_PERIOD_S = 12.0
"""A row that waits counts for 20 s, which is more than both together."""


CONFIRMED_FROM_S, CONFIRMED_BY_S = 2.0, 7.0
"""Seconds after its first sight in which a request that waits asks again, whatever it was told:
polls are `LONGEST_PAUSE_S` apart at most, other clients' 5 s (protocol.md A.5). Its row says so."""

OVERDUE_TURN_S = 1e6
"""Added to the turn of those who are overdue: they come after all who are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueProfile:
    """Who waits, as much as a place and an ETA need.

    `points`: (turn, requests up to it, load up to it), the first in turn first.
    """

    points: tuple[tuple[float, int, float], ...] = ()
    queued: float = 0.0  # load that waits at the workers already
    capacity: float = 0.0  # ready, load per second
    capacity_at: float | None = None  # when capacity is expected if there is none
    coming_capacity: float = 0.0
    typical_cost: float = 0.0  # see admission.turn_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a request stands. `eta_s` None: nobody knows."""

    n_ahead: int
    eta_s: float | None


def profile_queue(
    waiting: Sequence[Queued], typical_cost: float, params: AdmissionParams, now: float
) -> tuple[tuple[float, int, float], ...]:
    """The points of a `QueueProfile`, at most MAX_PROFILE_POINTS."""
    in_turn = sorted((_place_of(r, typical_cost, params, now), r.cost) for r in waiting)
    step = -(-len(in_turn) // MAX_PROFILE_POINTS)
    points: list[tuple[float, int, float]] = []
    load = 0.0
    for n, (turn, cost) in enumerate(in_turn, 1):
        load += cost
        if n % step == 0 or n == len(in_turn):
            points.append((turn, n, round(load, 3)))
    return tuple(points)


def _place_of(request: Queued, typical_cost: float, params: AdmissionParams, now: float) -> float:
    """What the queue is sorted by: the turn, those on time before all others."""
    if is_overdue(request.first_seen_at, now, params):
        return request.first_seen_at + OVERDUE_TURN_S
    return turn_at(request, typical_cost, params)


def estimate_place(
    request: Queued, now: float, queue: QueueProfile, params: AdmissionParams
) -> Place:
    """How many are ahead of a request, and about when it will start."""
    n_ahead, load_ahead = _ahead(_place_of(request, queue.typical_cost, params, now), queue)
    starts_in_s, rate = 0.0, queue.capacity
    if rate <= 0:
        if queue.capacity_at is None or queue.coming_capacity <= 0:
            return Place(n_ahead=n_ahead, eta_s=None)
        starts_in_s, rate = max(1.0, queue.capacity_at - now), queue.coming_capacity
    return Place(n_ahead=n_ahead, eta_s=starts_in_s + (queue.queued + load_ahead) / rate)


def _ahead(turn: float, queue: QueueProfile) -> tuple[int, float]:
    """(requests, load) before one whose turn is then; among those of the same turn, in the middle.

    A crowd that came at once would all be told that it is first, and all come back too soon.
    """
    n_before, load_before = 0, 0.0
    n_until, load_until = 0, 0.0
    for at, n, load in queue.points:
        if at < turn:
            n_before, load_before = n, load
        if at <= turn:
            n_until, load_until = n, load
    n_same = n_until - n_before
    if n_same < 2:
        return n_before, load_before
    n_ahead = (n_same - 1) // 2
    return n_before + n_ahead, load_before + (load_until - load_before) * n_ahead / n_same


def next_poll_s(
    first_seen_at: float, eta_s: float | None, params: AdmissionParams, now: float, dice: float
) -> float:
    """`poll_after_s` for a request that was first seen then and is expected to start in `eta_s`."""
    return poll_after_s(
        eta_s,
        dice,
        is_overdue=is_overdue(first_seen_at, now + (eta_s or 0.0), params),
        left_s=first_seen_at + params.target_queue_time - now,
    )


def poll_after_s(
    eta_s: float | None, dice: float, *, is_overdue: bool, left_s: float = 0.0
) -> float:
    """When a paced client should ask again: half the ETA, 0.5 to 5 s, spread by a third.

    Who can still be on time asks at least every 2 s: a slot that comes free is for them, and it
    stands idle until one of them asks. `left_s`: until it becomes overdue; it asks just before.
    `is_overdue`: or will be at its ETA.
    """
    longest = 5.0 if eta_s is None or is_overdue else 2.0
    base = longest if eta_s is None else min(longest, max(SHORTEST_PAUSE_S, eta_s / 2))
    pause_s = base * (2 / 3 + dice * 2 / 3)
    if eta_s is not None and not is_overdue and left_s > LAST_LOOK_S:
        pause_s = min(pause_s, max(left_s - LAST_LOOK_S, SHORTEST_PAUSE_S / 2))
    return round(pause_s, 2)


def is_waiting(first_seen_at: float, last_polled_at: float, now: float) -> bool:
    """Whether a waiting row has a place in the queue: who asks once and never again loses it.

    It would stand before those who do, and room that is kept for it stays unused.
    """
    is_back = last_polled_at >= first_seen_at + CONFIRMED_FROM_S
    return is_back or now - first_seen_at <= CONFIRMED_BY_S


def is_note_due(idx: int, now: float, first_seen_at: float) -> bool:
    """Whether this poll of a waiting request, at any router, is to refresh its row.

    The first ones do, so that it is known to wait (`is_waiting`). Later on
    each idx has a moment in every `NOTE_PERIOD_S`; the polls within the longest pause after it
    refresh the row. So one does, and routers need not know of each other.
    """
    if CONFIRMED_FROM_S <= now - first_seen_at <= CONFIRMED_BY_S:
        return True
    phase_s = idx % 4_096 / 4_096 * NOTE_PERIOD_S  # its check, as good as drawn
    return (now - phase_s) % NOTE_PERIOD_S <= LONGEST_PAUSE_S
