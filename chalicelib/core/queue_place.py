"""A place in the queue: how many are ahead, about when a request will start, when to ask again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.core.admission import AdmissionParams, Queued, turn_at

MAX_PROFILE_POINTS = 16

LONGEST_PAUSE_S = 6.7
NOTE_PERIOD_S = 12.0
"""A row that waits counts for 20 s, which is more than both together."""


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
    waiting: Sequence[Queued], typical_cost: float, params: AdmissionParams
) -> tuple[tuple[float, int, float], ...]:
    """The points of a `QueueProfile`, at most MAX_PROFILE_POINTS."""
    in_turn = sorted((turn_at(r, typical_cost, params), r.cost) for r in waiting)
    step = -(-len(in_turn) // MAX_PROFILE_POINTS)
    points: list[tuple[float, int, float]] = []
    load = 0.0
    for n, (turn, cost) in enumerate(in_turn, 1):
        load += cost
        if n % step == 0 or n == len(in_turn):
            points.append((turn, n, round(load, 3)))
    return tuple(points)


def estimate_place(
    request: Queued, now: float, queue: QueueProfile, params: AdmissionParams
) -> Place:
    """How many are ahead of a request, and about when it will start."""
    n_ahead, load_ahead = _ahead(turn_at(request, queue.typical_cost, params), queue)
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


def poll_after_s(eta_s: float | None, dice: float, *, is_overdue: bool) -> float:
    """When a paced client should ask again: half the ETA, 1 to 5 s, spread by a third.

    Who can still be on time asks at least every 2 s: a slot that comes free is for them, and it
    stands idle until one of them asks.
    """
    longest = 5.0 if eta_s is None or is_overdue else 2.0
    base = longest if eta_s is None else min(longest, max(1.0, eta_s / 2))
    return round(base * (2 / 3 + dice * 2 / 3), 2)


def is_note_due(idx: int, now: float) -> bool:
    """Whether this poll of a waiting request, at any router, is to refresh its row.

    Each idx has a moment in every `NOTE_PERIOD_S`; the polls within the longest pause after it
    refresh the row. So one does, and routers need not know of each other.
    """
    phase_s = idx % 4_096 / 4_096 * NOTE_PERIOD_S  # its check, as good as drawn
    return (now - phase_s) % NOTE_PERIOD_S <= LONGEST_PAUSE_S
