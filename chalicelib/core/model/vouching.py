"""What workers say of themselves, as far as their peers and our own grants vouch for it. Pure.

A report is written on a rented host, and its numbers decide who gets requests, who is stopped and
what is rented. So a row counts as it is vouched for: speed and slots by the machines of its type,
or else by all that serve the same template, requests in flight by what we granted. A machine that
is faster than its peers proves it by work of ours that it finished (`observed_perf`).

The middle value of all peers counts, the lower of the two middle ones: one liar among three or more
moves nothing, and of two that differ the slower one is believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.core.model.load import (
    OBSERVED_MARGIN,
    believed_perf,
    granted_beyond,
    granted_within,
    mean_cost,
)
from chalicelib.core.model.worker import Worker, WorkerState, replaced

WITHIN_TYPE = math.exp(2.5 * 0.1)
"""A machine may say that it is so much faster than its type: 0.1 is the spread of log perf between
machines of a type (learning.PERF_NOISE_SD), 2.5 of them are exceeded by 0.6 %."""

BETWEEN_TYPES = math.exp(0.35)
"""The same for a type that is judged by others' perf per `dlperf`: learning.PERF_PRIOR_SD, once,
since two that are believed 1.4 to 1 still share requests 58 to 42."""

PROVEN_WITHIN_TYPE, PROVEN_BETWEEN_TYPES = 1.3, 3.0
"""So much over its peers a machine may prove to be: what it finished is its own account of what we
granted, and machines of one type do not differ more."""

BEYOND_BELIEF = 0.95
"""Who says more than that is ranked behind its peers: given requests last, and stopped first."""

SHOWN_BY_GRANTS = WITHIN_TYPE / OBSERVED_MARGIN
"""What a machine whose claim is within belief finished counts for more than its type only above
this: up to here it may be its own account alone (`core/fleet/report.py`)."""

SLOTS_WITHIN_TYPE, SLOTS_BETWEEN_TYPES = 1.25, 3.0
"""Slots over the peers' of a type; over the peers' slots per perf among types. One of two full
machines with 1.25 of the other's slots gets 0.56 of the requests; with 1.5 it got 0.60 to 0.62."""

N_SAME_TYPE = 3
"""Machines of a type that are enough to judge by; fewer are judged with all others."""

RUNS_S = 110.0
"""Requests beyond a worker's slots were granted within this: a queue at a worker is seconds long
(`max_queue_time`), and marks (core/model/load.py) surely reach so far."""

Kind = tuple[int, int, str]
"""Autogroup, template revision, GPU type: one model on one kind of machine."""

Known = Mapping[tuple[int, str], float]
"""Perf that a group learned of machines that were there before, by (autogroup, GPU type)."""


def vouch(rows: Iterable[Worker], now: float) -> list[Worker]:
    """The rows of a group in their order, with perf, slots and loads as they are vouched for."""
    rows = list(rows)
    peers, typical = _Peers(rows, {}), mean_cost(rows)
    return [_vouched(row, peers, typical, now) for row in rows]


def vouch_routing(rows: Iterable[Worker], now: float) -> list[Worker]:
    """The same for routers: a machine is no faster than its type until its work shows that it is.

    Else a little more by its word alone, and always idle, would shorten the queue seen there.
    """
    rows = list(rows)
    peers, typical = _Peers(rows, {}), mean_cost(rows)
    vouched = [_vouched(row, peers, typical, now) for row in rows]
    return [_as_shown(row, peers) if row.perf > 0 else row for row in vouched]


def vouch_capacity(rows: Iterable[Worker], now: float, known: Known) -> list[Worker]:
    """The same for the scaler, which knows what it learned of other machines.

    Machines of one type count alike, as the middle of it, until work that we granted shows that one
    is faster: neither a little more by its own word, which stopped an honest one where a floor lay
    between, nor less, which would rent another. Little finished work shows nothing: who says that
    his slots are full is given none. One that is really slow holds its slots for longer, which is
    demand in the same measure, and its callers wait; without slots demand is the load that comes,
    and what was finished counts. Who claims more than belief allows counts as the middle whatever
    it proved: a third more, by its own account, stopped an honest one. It is ranked by what it
    says.
    """
    rows = list(rows)
    peers, typical = _Peers(rows, known), mean_cost(rows)
    vouched = [_vouched(row, peers, typical, now) for row in rows]
    return [
        _without_claimed_queue(_counted(row, was.perf, peers), peers, typical, now)
        if row.perf > 0
        else row
        for was, row in zip(rows, vouched, strict=True)
    ]


def usual_perfs(rows: Iterable[Worker]) -> list[float]:
    """What each of a group's vouched rows serves without its own word for being faster.

    The middle of its type at most, whatever it proved by its own account; where other types had to
    be asked, what it is ranked by.
    """
    rows = list(rows)
    peers = _Peers(rows, {})
    ranked = [row.rank_perf if row.rank_perf > 0 else math.inf for row in rows]
    return [
        min(believed_perf(row), rank, peers.usual_of_type(row))
        for row, rank in zip(rows, ranked, strict=True)
    ]


def _as_shown(row: Worker, peers: _Peers) -> Worker:
    """A vouched row with no more than its type serves, unless finished work shows more."""
    usual = peers.usual_of_type(row)
    if row.perf <= usual or row.observed_perf > usual * SHOWN_BY_GRANTS:
        return row
    return replaced(row, perf=usual, rank_perf=min(row.rank_perf, usual))


def _counted(row: Worker, claimed: float, peers: _Peers) -> Worker:
    """A vouched row with what the scaler reckons with.

    Where other types had to be asked, a claim within belief counts as far as it is proven.
    """
    told = perf = max(row.perf, peers.least_perf(row)) if row.observed_perf <= 0 else row.perf
    usual = peers.usual_of_type(row)
    shown = row.observed_perf
    if usual == math.inf:
        is_unproven = row.perf == claimed > row.rank_perf > 0
        perf = row.rank_perf if is_unproven else told
    elif shown > usual * SHOWN_BY_GRANTS and claimed <= row.perf:
        perf = lower_median((told, usual, shown))
    elif shown > 0 and row.slots <= 0:
        perf = lower_median((perf, usual, min(shown, usual)))
    else:
        perf = usual
        shown = max(shown, usual) if shown > 0 else shown
    if perf == told == row.perf and shown == row.observed_perf:
        return row
    return replaced(row, perf=perf, told_perf=told, observed_perf=shown)


def _without_claimed_queue(row: Worker, peers: _Peers, typical: float, now: float) -> Worker:
    """Beyond its slots a worker holds what we granted and its type cannot have finished.

    What it says of its queue is demand: forty in four slots, by its own word, rented three.
    """
    usual = peers.usual_of_type(row)
    if row.slots <= 0 or row.n_working <= row.slots or typical <= 0 or usual == math.inf:
        return row
    queue = math.ceil(granted_beyond(row, usual, 0.0, now) / typical)
    n_working = min(row.n_working, row.slots + queue)
    return row if n_working == row.n_working else replaced(row, n_working=n_working)


def _vouched(row: Worker, peers: _Peers, typical: float, now: float) -> Worker:
    if row.state is WorkerState.FOREIGN:
        return row
    perf, rank_perf = peers.perf_of(row)
    slots = peers.slots_of(row, perf)
    lately = math.ceil(granted_within(row, RUNS_S, now) / typical) if typical > 0 else 0
    n_working = min(row.n_working, row.reqnum)
    if slots > 0:
        n_working = min(n_working, slots + lately)
    vouched = (perf, rank_perf, slots, n_working)
    if vouched == (row.perf, row.rank_perf, row.slots, row.n_working):
        return row
    return replaced(row, perf=perf, rank_perf=rank_perf, slots=slots, n_working=n_working)


@dataclass(slots=True)
class _Peers:
    """The measured workers of a group, by kind."""

    rows: Sequence[Worker]
    known: Known
    _of_kind: dict[Kind, list[Worker]] = field(default_factory=dict)
    _of_autogroup: dict[int, list[Worker]] = field(default_factory=dict)
    _bounds: dict[tuple[Kind, float], tuple[float, float, float, bool]] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        """Sort the rows."""
        for row in self.rows:
            if row.perf > 0 and row.state is not WorkerState.FOREIGN:
                self._of_kind.setdefault(_kind(row), []).append(row)
                self._of_autogroup.setdefault(row.autogroup_id, []).append(row)

    def least_perf(self, row: Worker) -> float:
        """The least that is believed before the worker has shown at work what it serves."""
        middle, claimed_most, _, is_clear = self._bounds_of(row)
        return middle * middle / claimed_most if is_clear else 0.0

    def usual_of_type(self, row: Worker) -> float:
        """What machines of its type serve; infinite where other types had to be asked."""
        middle, _, proven_most, _ = self._bounds_of(row)
        return middle if proven_most <= middle * PROVEN_WITHIN_TYPE else math.inf

    def perf_of(self, row: Worker) -> tuple[float, float]:
        """(what a worker serves, what its price is ranked by), whatever it says.

        What is beyond belief counts as the middle; and nobody is cheaper than the middle by its
        word alone, since the cheapest is given requests first and stopped last.
        """
        middle, claimed_most, proven_most, is_clear = self._bounds_of(row)
        proven = min(row.observed_perf * OBSERVED_MARGIN, proven_most)
        if row.perf <= max(claimed_most, proven):
            return row.perf, min(row.perf, max(middle, proven))
        believed = max(middle, proven)
        return believed, believed * BEYOND_BELIEF if is_clear else middle

    def _bounds_of(self, row: Worker) -> tuple[float, float, float, bool]:
        key = _kind(row), row.dlperf
        if key not in self._bounds:
            self._bounds[key] = self._find_bounds(row)
        return self._bounds[key]

    def _find_bounds(self, row: Worker) -> tuple[float, float, float, bool]:
        """(the middle of the peers, the most by claim, the most by work done, whether it is clear).

        Of two alone nobody can say which one is wrong.
        """
        same = [believed_perf(peer) for peer in self._of_kind.get(_kind(row), ())]
        learned = self.known.get((row.autogroup_id, row.gpu_type), 0.0)
        if learned > 0:
            same.append(learned)
        if len(same) >= N_SAME_TYPE:
            middle = lower_median(same)
            return middle, middle * WITHIN_TYPE, middle * PROVEN_WITHIN_TYPE, True
        others = [
            believed_perf(peer) * _times_dlperf(row, peer)
            for peer in self._of_autogroup.get(row.autogroup_id, ())
            if _kind(peer) != _kind(row)
        ]
        if len(same) + len(others) < 2:
            return math.inf, math.inf, math.inf, False
        middle = lower_median([*same, *others])
        if others:
            is_clear = len(same) + len(others) > 2
            return middle, middle * BETWEEN_TYPES, middle * PROVEN_BETWEEN_TYPES, is_clear
        return middle, middle * WITHIN_TYPE, middle * PROVEN_WITHIN_TYPE, False

    def slots_of(self, row: Worker, perf: float) -> int:
        """Slots as the peers vouch for; a worker that tells none has as many as its type.

        What is beyond belief counts as the middle, as with perf.
        """
        same = [peer.slots for peer in self._of_kind.get(_kind(row), ()) if peer.slots > 0]
        if same and row.slots <= 0:
            return int(lower_median(same))
        if len(same) > 1:
            middle = int(lower_median(same))
            least = math.floor(middle / SLOTS_WITHIN_TYPE) if len(same) >= N_SAME_TYPE else 1
            is_believed = row.slots <= math.ceil(middle * SLOTS_WITHIN_TYPE)
            return max(row.slots, least) if is_believed else middle
        per_perf = [
            peer.slots / believed_perf(peer)
            for peer in self._of_autogroup.get(row.autogroup_id, ())
            if peer.slots > 0 and _kind(peer) != _kind(row)
        ]
        if not per_perf or perf <= 0:
            return row.slots
        return min(row.slots, math.ceil(lower_median(per_perf) * perf * SLOTS_BETWEEN_TYPES))


def _kind(row: Worker) -> Kind:
    return row.autogroup_id, row.template_revision, row.gpu_type


def _times_dlperf(row: Worker, peer: Worker) -> float:
    """How much faster the marketplace's benchmark finds the one machine; 1 if it does not say."""
    return row.dlperf / peer.dlperf if row.dlperf > 0 and peer.dlperf > 0 else 1.0


def lower_median(values: Iterable[float]) -> float:
    """The middle value, of two the lower one.

    Raises:
        ValueError: there is no value.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no value has a middle")
    return ordered[(len(ordered) - 1) // 2]
