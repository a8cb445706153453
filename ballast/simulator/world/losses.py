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
# what comes next: as quiet, contested by other bidders, let on demand. The mean stays of five zones
# of a public trace lie between 0.7 and 6.8 h, their absences between 0.8 and 3.6 h; both are 2 to 7
# times their median, as of lognormal times with these spreads: who has lasted goes on lasting.
MODEL_STAY_H = (6.0, 5.0, 3.0, 2.0, 1.5)
MODEL_AWAY_H = 1.0
STAY_SIGMA, AWAY_SIGMA = 1.66, 1.3
MODEL_LEAD_S = 10 * 86_400.0  # played before the run begins, so that it begins amid stays
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


def model_losses(duration_s: float, seed: int, *, is_memoryless: bool = False) -> Losses:
    """Losses of a made-up market: rivals that bid, and renters on demand.

    `is_memoryless`: stays and absences as long as those, but exponential.
    """
    losses = Losses()
    for number in range(N_MODEL_ZONES):
        rng = random.Random(f"losses:{seed}:{number}")
        at, steps = (0.0 if is_memoryless else -MODEL_LEAD_S), [(-math.inf, 1.0)]
        sigmas = (0.0, 0.0) if is_memoryless else (STAY_SIGMA, AWAY_SIGMA)
        while at < duration_s:
            at += _time_s(rng, MODEL_STAY_H[number], sigmas[0])
            is_contested = rng.random() < CONTESTED_ODDS
            floor = math.exp(abs(rng.gauss(0.0, RIVAL_SIGMA))) if is_contested else math.inf
            steps.append((at, floor))
            at += _time_s(rng, MODEL_AWAY_H, sigmas[1])
            steps.append((at, 1.0))
        losses.steps[f"zone-{number + 1}"] = steps
    return losses


def _time_s(rng: random.Random, mean_h: float, sigma: float) -> float:
    """A lognormal time of a mean; without a spread an exponential one."""
    if not sigma:
        return rng.expovariate(1.0 / (mean_h * 3600.0))
    return mean_h * 3600.0 * math.exp(sigma * rng.gauss(0.0, 1.0) - sigma * sigma / 2.0)
