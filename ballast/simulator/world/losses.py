"""When interruptible machines can be had: per zone, the least bid that wins, over the base price.

Below that bid a machine is taken without notice, and comes back when its bid wins again. `inf`: all
of the zone is let on demand, which no bid beats.
"""

from __future__ import annotations

import csv
import gzip
import math
import random
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path

N_MODEL_ZONES = 5
# Mean hours between changes of a zone of the bidding model, from quiet to restless, and the odds of
# what comes next: as quiet, contested by other bidders, let on demand. The stays of five zones of
# a public trace lie between 0.7 and 6.8 h, their absences between 0.8 and 3.6 h.
MODEL_STAY_H = (6.0, 5.0, 3.0, 2.0, 1.5)
MODEL_AWAY_H = 1.0
CONTESTED_ODDS = 0.4  # of a change: rivals bid more; else the zone is let on demand
RIVAL_SIGMA = 0.4  # of the logarithm of what rivals bid over the base price


class LossesError(ValueError):
    """A file of availability cannot be used; the message says why."""


@dataclass(slots=True)
class Losses:
    """The least winning bid of every zone over time, as a multiple of the base price."""

    steps: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # (from, floor)

    @property
    def zones(self) -> tuple[str, ...]:
        """Their names in order."""
        return tuple(sorted(self.steps))

    def floor(self, zone: str, now: float) -> float:
        """The least bid that wins now over the base price."""
        steps = self.steps[zone]
        return steps[max(bisect_right(steps, (now, math.inf)) - 1, 0)][1]

    def changes(self, until: float) -> list[tuple[float, str]]:
        """When the floor of a zone changes."""
        found = [
            (at, zone) for zone in self.zones for at, _ in self.steps[zone] if 0.0 < at < until
        ]
        return sorted(found)


def trace_losses(path: Path, duration_s: float, seed: int, zones: tuple[str, ...] = ()) -> Losses:
    """Losses as a trace of availability (zone, from_s, to_s) tells, from a moment of the seed's.

    Raises:
        LossesError: no such columns, an unknown zone, or a trace shorter than the run.
    """
    spans: dict[str, list[tuple[float, float]]] = {}
    try:
        with gzip.open(path, "rt") as lines:
            for row in csv.DictReader(lines):
                spans.setdefault(row["zone"], []).append((float(row["from_s"]), float(row["to_s"])))
    except (OSError, KeyError, ValueError) as error:
        raise LossesError(f"{path}: not a trace of availability: {error}") from error
    unknown = sorted(set(zones) - set(spans))
    if unknown or not spans:
        raise LossesError(f"{path}: no zone {unknown}; there are {sorted(spans)}")
    end = max(to for rows in spans.values() for _, to in rows)
    if end < duration_s:
        raise LossesError(f"{path}: {end / 86_400:.1f} days, the run has {duration_s / 86_400:.1f}")
    shift = random.Random(f"losses:{seed}").uniform(0.0, end - duration_s)
    losses = Losses()
    for zone in zones or tuple(sorted(spans)):
        steps = [(-math.inf, math.inf)]
        for begin, to in sorted(spans[zone]):
            steps += [(begin - shift, 1.0), (to - shift, math.inf)]
        losses.steps[zone] = steps
    return losses


def model_losses(duration_s: float, seed: int) -> Losses:
    """Losses of a made-up market: rivals that bid, and renters on demand."""
    losses = Losses()
    for number in range(N_MODEL_ZONES):
        rng = random.Random(f"losses:{seed}:{number}")
        at, steps = 0.0, [(-math.inf, 1.0)]
        while at < duration_s:
            at += rng.expovariate(1.0 / (MODEL_STAY_H[number] * 3600.0))
            is_contested = rng.random() < CONTESTED_ODDS
            floor = math.exp(abs(rng.gauss(0.0, RIVAL_SIGMA))) if is_contested else math.inf
            steps.append((at, floor))
            at += rng.expovariate(1.0 / (MODEL_AWAY_H * 3600.0))
            steps.append((at, 1.0))
        losses.steps[f"zone-{number + 1}"] = steps
    return losses
