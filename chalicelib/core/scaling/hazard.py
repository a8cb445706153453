"""How often interruptible machines are taken away, and how soon they come back. Pure.

Losses are a Poisson process with a gamma posterior per place (a GPU type in a region), shrunk to
its region's, and that to the group's own; those at one place in one round are one event, since they
have one cause (an on-demand renter, a host, an hour), so that ten machines lost together are not
ten proofs. A single machine's own record is shrunk to its place's. A higher bid helps where it did:
the posterior per margin over the least bid multiplies the rate. Old knowledge fades over two days,
so that an hour of losses is felt.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.core.model.worker import WorkerState
from chalicelib.core.scaling.memory import ScalingMemory
from chalicelib.core.scaling.snapshot import WorkerFacts

UP_PRIOR_S = 4 * 3600.0  # until a machine is taken: between the mean stays (0.7 to 6.8 h) of five
DOWN_PRIOR_S = 3600.0  # zones of a public trace (benchmark.md 8), and until it comes back (0.8-3.6)
PRIOR_EVENTS = 1.0  # that the prior of a region is worth
PLACE_EVENTS = 3.0  # that the region's record, of which its own is a part, is worth to a place
OWN_EVENTS = 3.0  # that the place's record is worth to a single machine
MARGIN_EVENTS = 2.0  # that the prior of a margin is worth
FADES_S = 2 * 86_400.0  # chosen: what a market did days ago says little
LEAST_SEEN_S, LEAST_LOSSES = 1.0, 1e-3  # records that have faded to less are forgotten
MAX_GAP_S = 120.0  # a longer pause between rounds tells nothing of what happened in it
MAX_KEYS = 120  # the least known are forgotten beyond; a record is some 60 bytes
STREAM_WORTH = 100.0  # times the price of its slot that a broken stream is worth: 1 in 1,000 breaks
# at a tenth of the price, so that a fleet that breaks more pays for it (benchmark.md 8)

MARGINS = (1.0, 1.25, 1.6)  # times the least bid that wins: what may be bid
MARGIN_PRIOR = (1.0, 0.8, 0.65)  # of the rate at the least bid: most losses are to renters on
# demand, who always win (tests/evidence/vast/README.md); learned from there on

UP_STATES = frozenset(
    {
        WorkerState.LOADING,
        WorkerState.MODEL_LOADING,
        WorkerState.READY,
        WorkerState.DRAINING,
        WorkerState.STARTING,
    }
)
_UP_S, _EVENTS, _SHARE, _DOWN_S, _BACK = range(5)  # places in a row
_EVERYWHERE = "*"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bid:
    """What the odds of an interruptible machine hang on."""

    place: str
    machine_id: int = 0
    margin: float = 1.0  # the bid over the least that won when it was made

    @staticmethod
    def of_worker(worker: WorkerFacts) -> Bid:
        """Of a machine that is rented."""
        return Bid(
            place=place_of(worker.place, worker.gpu_type),
            machine_id=worker.machine_id,
            margin=worker.bid_margin,
        )


def place_of(geolocation: str, gpu_type: str) -> str:
    """Machines that are lost together: of one GPU type in one region."""
    return f"{geolocation}|{gpu_type}"


def learn_losses(memory: ScalingMemory, workers: Iterable[WorkerFacts], now: float) -> None:
    """Count what was taken and what came back since the previous round."""
    since_s = max(now - memory.at, 0.0) if memory.at > 0 else 0.0
    bids = [worker for worker in workers if worker.is_bid]
    if not (bids or memory.bid_states or memory.bid_odds):
        return
    elapsed_s = min(since_s, MAX_GAP_S)
    before, after = memory.bid_states, {}
    seen: defaultdict[str, list[list[float]]] = defaultdict(list)  # key: [up, lost, down, back]
    for worker in bids:
        was = before.get(str(worker.instance_id), 0.0)
        is_up, is_down = worker.state in UP_STATES, worker.state is WorkerState.PAUSED
        if is_up or is_down:
            after[str(worker.instance_id)] = 1.0 if is_up else -1.0
            bid = Bid.of_worker(worker)
            row = [
                float(is_up),
                float(is_down and was > 0),
                float(is_down),
                float(is_up and was < 0),
            ]
            for key in _keys(bid):
                seen[key].append(row)
    expected = {key: _expected(memory, key, rows, elapsed_s) for key, rows in seen.items()}
    fade = math.exp(-since_s / FADES_S)  # also while nothing is bid for, or nothing runs at all
    faded = {key: [value * fade for value in row] for key, row in memory.bid_odds.items()}
    odds = {key: row for key, row in faded.items() if key in seen or _says_something(key, row)}
    _count_everywhere(odds, seen, elapsed_s)
    for key, rows in seen.items():
        if key.startswith("b:"):
            _count_margin(odds, key, rows, expected[key])
        else:
            _count(odds, key, rows, elapsed_s)
    newest = sorted(odds, key=lambda key: (key not in seen, -odds[key][_UP_S], key))[:MAX_KEYS]
    kept = set(newest) | ({_EVERYWHERE} & odds.keys())
    memory.bid_odds = {key: odds[key] for key in sorted(kept)}
    memory.bid_states = after


def loss_rate(memory: ScalingMemory, bid: Bid) -> float:
    """Expected losses of a machine per second of running."""
    everywhere = _rate(memory, _EVERYWHERE, 1.0 / UP_PRIOR_S, PRIOR_EVENTS)
    region = _rate(memory, _region_key(bid.place), everywhere, PRIOR_EVENTS)
    place = _rate(memory, f"p:{bid.place}", region, PLACE_EVENTS)
    own = _rate(memory, f"m:{bid.machine_id}", place, OWN_EVENTS) if bid.machine_id else place
    return own * margin_factor(memory, bid.margin)


def return_rate(memory: ScalingMemory, place: str) -> float:
    """Expected returns of an outbid machine per second."""
    rate = 1.0 / DOWN_PRIOR_S
    for key, prior_n in (
        (_EVERYWHERE, PRIOR_EVENTS),
        (_region_key(place), PRIOR_EVENTS),
        (f"p:{place}", PLACE_EVENTS),
    ):
        _, _, _, down_s, back = memory.bid_odds.get(key, _NONE)
        rate = (prior_n + back) / (prior_n / rate + down_s)
    return rate


def availability(memory: ScalingMemory, bid: Bid) -> float:
    """Share of the time in which such a machine is there."""
    lost, back = loss_rate(memory, bid), return_rate(memory, bid.place)
    return back / (lost + back)


def margin_factor(memory: ScalingMemory, margin: float) -> float:
    """By which a bid above the least one changes the rate."""
    index = _margin_index(margin)
    n, expected, *_ = memory.bid_odds.get(f"b:{index}", _NONE)
    prior = MARGIN_PRIOR[index]
    return (prior * MARGIN_EVENTS + n) / (MARGIN_EVENTS + expected)


def loss_usd(usd_per_hour: float, start_s: float, service_s: float) -> float:
    """What losing one machine costs: another's start, and what was being served.

    `usd_per_hour`: of the machine on demand that stands in.
    """
    return usd_per_hour / 3600.0 * (start_s + STREAM_WORTH * service_s)


_NONE = (0.0, 0.0, 0.0, 0.0, 0.0)  # before the first event


def _keys(bid: Bid) -> tuple[str, ...]:
    margin = f"b:{_margin_index(bid.margin)}"
    return _region_key(bid.place), f"p:{bid.place}", f"m:{bid.machine_id}", margin


def _region_key(place: str) -> str:
    """What goes on in a region is felt by all its GPU types: new ones are judged by it."""
    return f"r:{place.rpartition('|')[0]}"


def _says_something(key: str, row: list[float]) -> bool:
    """Whether a faded record still is worth a second of a machine, or a thousandth of a loss."""
    if key.startswith("b:"):
        return max(row) >= LEAST_LOSSES
    return row[_UP_S] + row[_DOWN_S] >= LEAST_SEEN_S


def _margin_index(margin: float) -> int:
    """The nearest of MARGINS."""
    return min(range(len(MARGINS)), key=lambda i: abs(MARGINS[i] - margin))


def _rate(memory: ScalingMemory, key: str, prior_rate: float, prior_n: float) -> float:
    up_s, _, share, _, _ = memory.bid_odds.get(key, _NONE)
    return (prior_n + share) / (prior_n / prior_rate + up_s)


def _count(
    odds: dict[str, list[float]], key: str, rows: list[list[float]], elapsed_s: float
) -> None:
    record = odds.setdefault(key, list(_NONE))
    up, lost, down, back = (sum(column) for column in zip(*rows, strict=True))
    if up or lost:
        record[_UP_S] += elapsed_s
    if lost:
        record[_EVENTS] += 1.0
        record[_SHARE] += lost / (up + lost)
    if down:
        record[_DOWN_S] += elapsed_s
    if back:
        record[_BACK] += 1.0


def _count_everywhere(
    odds: dict[str, list[float]], seen: dict[str, list[list[float]]], elapsed_s: float
) -> None:
    """The group's own record: each region of it counts as one."""
    for key, rows in sorted(seen.items()):
        if key.startswith("r:"):
            _count(odds, _EVERYWHERE, rows, elapsed_s)


def _expected(memory: ScalingMemory, key: str, rows: list[list[float]], elapsed_s: float) -> float:
    """Losses that were to be expected at the least bid, of a margin's machines."""
    if not key.startswith("b:"):
        return 0.0
    everywhere = _rate(memory, _EVERYWHERE, 1.0 / UP_PRIOR_S, PRIOR_EVENTS)
    n_up = sum(row[0] + row[1] for row in rows)
    return everywhere * elapsed_s if n_up else 0.0


def _count_margin(
    odds: dict[str, list[float]], key: str, rows: list[list[float]], expected: float
) -> None:
    """[losses, losses to be expected] of the machines at a margin, as shares of one event."""
    record = odds.setdefault(key, list(_NONE))
    n = sum(row[0] + row[1] for row in rows)
    record[0] += sum(row[1] for row in rows) / n if n else 0.0
    record[1] += expected
